"""How a lasting change came about: at once, or over how many rows, and from where on.

A straight or bent rise from nothing to a height at which it stays is fitted by least squares to the distance from the
trend before; a step is the shortest of them. The first rows of a slow rise are within the noise, so the row at which it
becomes visible is not where it began: that only the fit can tell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .residual import Floats

_MOST_POINTS, _FEW_POINTS = 72, 40
_POWERS = (1.0, 1.5)  # straight, or faster and faster as a divergence does
_BEYOND = 1.5
_LEAST_NOISE = 0.3
_JUMP_ROWS = 16
_CLEARLY = 15.0
_LEAST_REST, _NEARLY, _RISEN_SD, _NO_WORSE, _BENT_SHARE = 16, 8, 1.0, 1.5, 0.06


class RiseFit(NamedTuple):
    """A rise that begins at index ``first`` and is complete at index ``full``; a step if these are neighbours.

    Args:
        height: what it has reached there, in sd.
        gain: by how much it explains the values better than a step at the best place, in units of their variance.
    """

    first: int
    full: int
    height: float
    gain: float

    @property
    def is_gradual(self) -> bool:
        return self.full - self.first > _JUMP_ROWS and self.gain > _CLEARLY


def fit_rise(y: Floats) -> RiseFit | None:
    """The rise that fits ``y``, the distance from trend in sd from well before a change up to where it still lasts."""
    if len(y) < 8:
        return None
    size = -(-len(y) // _MOST_POINTS)
    blocks = _blocks(y, size)
    points = _tamed(np.median(blocks, axis=1) if size > 2 else blocks.mean(axis=1))
    best, step = _search(points)
    offset = len(y) - blocks.size
    noise = max(float(np.median(np.abs(np.diff(points)))) * 1.05, _LEAST_NOISE / size**0.5)
    gain = (best.explained - step) / noise**2
    return RiseFit(offset + best.first * size, offset + best.full * size, best.height, gain)


def is_one_rise(y: Floats, newest: int) -> bool:
    """Whether the ``newest`` last values go on with a rise that all of ``y`` is, and are no second one from a rest."""
    if len(y) - newest < _LEAST_REST:
        return False
    size = -(-len(y) // _FEW_POINTS)
    rest = _blocks(y[:-newest], size).mean(axis=1)
    own = _blocks(y[-newest:], min(size, newest)).mean(axis=1)
    points = np.concatenate((rest, own))
    one, _ = _search(points)
    before, _ = _search(rest)
    # A rise of the newest alone, or nearly so, has nothing to go on with.
    if before.height < _RISEN_SD or (len(rest) - one.first) * size < _NEARLY:
        return False
    left_by_one = float(np.sum(points**2)) - one.explained
    left_by_two = float(np.sum(rest**2)) - before.explained + float(np.sum((own - own.mean()) ** 2))
    is_still_rising = (len(points) - one.full) * size <= newest + _NEARLY
    # Next to a rise of a hundred sd no bend has to be met to within the noise.
    allowed = max(_NO_WORSE * max(left_by_two, len(points) / size), len(points) * (_BENT_SHARE * one.height) ** 2)
    return is_still_rising and left_by_one < allowed


def _blocks(y: Floats, size: int) -> Floats:
    """Blocks of so many values, one a row, up to the last; what is left over at the beginning is dropped."""
    count = len(y) // size
    return y[len(y) - count * size :].reshape(count, size)


def _tamed(points: Floats) -> Floats:
    """Without lone points far above their neighbours."""
    if len(points) < 3:
        return points
    middle = np.median(np.stack([points[:-2], points[1:-1], points[2:]]), axis=0)
    tamed = points.copy()
    tamed[1:-1] = np.clip(points[1:-1], middle - _BEYOND, middle + _BEYOND)
    return tamed


class _Best(NamedTuple):
    """The rise that fits some points best, and the sum of squares that it explains."""

    explained: float
    first: int
    full: int
    height: float


def _search(points: Floats) -> tuple[_Best, float]:
    """The best of all rises, and what the best step explains."""
    n = len(points)
    index = np.arange(n)
    best, step = _Best(-np.inf, 0, 1, 0.0), -np.inf
    for first in range(n - 1):
        full = np.arange(first, n)[:, None]
        share = np.clip((index - first + 1) / (full - first + 1), 0.0, 1.0)
        for power in _POWERS:
            shape = share**power
            norm = (shape * shape).sum(axis=1)
            product = shape @ points
            explained = np.where(product > 0, product * product / norm, -np.inf)
            place = int(np.argmax(explained))
            step = max(step, float(explained[0]))
            if explained[place] > best.explained:
                best = _Best(float(explained[place]), first, first + place, float(product[place] / norm[place]))
    return best, step
