"""What signals are called in prose, wherever people read of them; any other keeps its own name."""

from __future__ import annotations

SIGNAL_NAMES = {"loss": "loss", "grad_norm": "gradient norm", "learning_rate": "learning rate"}
