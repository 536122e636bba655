"""Level and noise of a real signal around each row, robust against outliers: what injected events are measured in."""

from __future__ import annotations

import numpy as np

from .curves import Floats

_LEVEL_ROWS = 101
_NOISE_ROWS = 501
_NEAR_ZERO = 0.05  # a signal that comes below is judged as it is, not by its logarithm
_GAUSSIAN = 1.4826  # a normal variable's sd over its median absolute deviation


def is_logarithmic(values: Floats) -> bool:
    return bool(np.min(values) > _NEAR_ZERO)


def running_median(values: Floats, window: int) -> Floats:
    """Centred median with the edges mirrored, shape (rows,); ``window`` is odd and below twice the rows."""
    half = window // 2
    padded = np.pad(values, half, mode="reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=-1))


def local_level(values: Floats) -> Floats:
    return running_median(values, _LEVEL_ROWS)


def local_sd(values: Floats, level: Floats) -> Floats:
    """Robust standard deviation of the distance to the level, shape (rows,); never 0."""
    sd = _GAUSSIAN * running_median(np.abs(values - level), _NOISE_ROWS)
    return np.asarray(np.maximum(sd, 1e-9))
