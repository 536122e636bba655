"""How instabilities run: what is added to a quiet signal from the first row of an event on, in sd of its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .curves import Floats


@dataclass(frozen=True, slots=True)
class Shape:
    """An event as an addition to a signal.

    Args:
        added: from the first row of the event on, shape (length,), in sd; the first entry is above 0.
        kept: what stays added behind the last entry, in sd.
        last: the last row of the event, counted from its first; the addition may linger below one sd after it.
    """

    added: Floats
    kept: float
    last: int
    size: float


def spike(size: float, rise: int, decay: float) -> Shape:
    """Linear rise to ``size`` in ``rise`` rows, exponential return with time constant ``decay``; over below one sd."""
    over = rise - 1 + math.ceil(decay * math.log(max(size, math.e)))
    k = np.arange(rise + math.ceil(8 * decay))
    falling = np.exp(-np.maximum(k - (rise - 1), 0) / decay)
    return Shape(size * np.minimum((k + 1) / rise, 1.0) * falling, 0.0, over, size)


def level_shift(size: float, length: int, *, comes_back: bool) -> Shape:
    """A step that lasts ``length`` rows, or for ever; the event has that length in both cases."""
    return Shape(np.full(length, size), 0.0 if comes_back else size, length - 1, size)


def drift(size: float, length: int) -> Shape:
    """A straight rise to ``size`` in ``length`` rows that stays."""
    return Shape(size * (np.arange(length) + 1) / length, size, length - 1, size)


def divergence(size: float, rise: int, length: int, power: float) -> Shape:
    """A rise of the given power to ``size`` in ``rise`` rows that never comes back; ``length`` rows are left."""
    k = np.arange(length)
    return Shape(size * np.minimum((k + 1) / rise, 1.0) ** power, size, length - 1, size)


def laid(shape: Shape, first: int, rows: int) -> Floats:
    """The shape as an addition to a whole signal, in sd, shape (rows,)."""
    added = np.zeros(rows)
    end = min(rows, first + len(shape.added))
    added[first:end] = shape.added[: end - first]
    added[end:] = shape.kept
    return added
