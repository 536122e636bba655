"""How well instabilities are told from noise: our detector and the field, on the same curves by the same rule."""
