"""Change detection on training signals. Knows numbers and steps; nothing of torch, files or frameworks."""
