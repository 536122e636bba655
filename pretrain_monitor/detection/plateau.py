"""A loss that has stopped falling, against the power law it followed before.

No chart sees a plateau: nothing changes on it. So the whole curve is kept, ever more coarsely as it grows, and each
time the run is some percent longer the newest half is held against what came before it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .alarm import Alarm, Chart
from .codec import decode, encode
from .residual import Floats

_MAX_BLOCKS = 256
_FIRST_SAMPLES = 1024  # before, the loss may rest for a while between the phases of early learning
_GROWS = 1.05  # between two looks
_Z = 3.0
_FELL = 0.02  # a log-log slope that says the loss was falling: 1.4 % for a doubling of steps
_STOPPED = 0.25  # of the slope before; a power law over an irreducible loss keeps more than half of it
_RESUMED = 0.5


class Slope(NamedTuple):
    """Slope of log(loss) over log(step), with a confidence interval of three standard errors."""

    low: float
    middle: float
    high: float


class PlateauRule:
    """Watches the loss for a plateau; told once, and again only after the loss has fallen in between."""

    def __init__(self) -> None:
        self._block = 1  # samples in a block
        self._sums: list[float] = []  # of log(loss), one a complete block
        self._steps: list[float] = []  # sums of log(step)
        self._open = [0.0, 0.0, 0.0]  # samples, log(loss), log(step) of the block under way
        self._seen = 0
        self._next_look = _FIRST_SAMPLES
        self._reference: float | None = None  # slope before the plateau under way

    def update(self, step: int, loss: float, *, may_look: bool = True) -> Alarm | None:
        """Take in one finite loss; look at the curve if it is time.

        Args:
            loss: values that have no logarithm are passed over.
            may_look: False puts the look off, while something else is going on.
        """
        if loss <= 0 or step <= 0:
            return None
        self._seen += 1
        self._open[0] += 1
        self._open[1] += math.log(loss)
        self._open[2] += math.log(step)
        if self._open[0] == self._block:
            self._sums.append(self._open[1])
            self._steps.append(self._open[2])
            self._open = [0.0, 0.0, 0.0]
            if len(self._sums) == _MAX_BLOCKS:
                self._coarsen()
        if self._seen < self._next_look or not may_look:
            return None
        self._next_look = math.ceil(self._seen * _GROWS)
        return self._look(step, loss)

    @property
    def is_flat(self) -> bool:
        """Whether the plateau that was told last still goes on, as of the last look."""
        return self._reference is not None

    def _look(self, step: int, loss: float) -> Alarm | None:
        x, y = np.array(self._steps) / self._block, np.array(self._sums) / self._block
        newest = math.log(step)
        flat = _within(x, y, newest - math.log(2), newest)
        now = slope_of(*flat)
        if now is None:
            return None
        if self._reference is not None:
            if now.high < _RESUMED * self._reference:
                self._reference = None
            return None
        before = slope_of(*_within(x, y, newest - math.log(4), newest - math.log(2)))
        if before is None or before.high > -_FELL or now.low < _STOPPED * before.middle:
            return None
        self._reference = before.middle
        level, middle = float(np.median(flat[1])), float(np.median(flat[0]))
        # Where the fall before would have led by now, from where the flat stretch began.
        expected = math.exp(level + before.middle * (newest - middle + math.log(2) / 2))
        plateau = {
            "since_step": round(step / 2),
            "level": round(math.exp(level), 6),
            "expected": round(expected, 6),
            "slope_before": round(before.middle, 5),
            "slope": round(now.middle, 5),
        }
        return Alarm("loss", Chart.PLATEAU, now.middle / before.middle, _STOPPED, loss, expected, {"plateau": plateau})

    def _coarsen(self) -> None:
        """Join blocks in pairs: half as many, each of twice the samples."""
        self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
        self._steps = [a + b for a, b in zip(self._steps[::2], self._steps[1::2], strict=True)]
        self._block *= 2

    def state_dict(self) -> dict[str, Any]:
        return {
            "block": self._block,
            "curve": encode(np.array([self._sums, self._steps])),
            "open": list(self._open),
            "seen": self._seen,
            "next_look": self._next_look,
            "reference": self._reference,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._block = state["block"]
        self._sums, self._steps = decode(state["curve"]).tolist()
        self._open = list(state["open"])
        self._seen = state["seen"]
        self._next_look = state["next_look"]
        self._reference = state["reference"]


def _within(x: Floats, y: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    inside = (x > low) & (x <= high)
    return x[inside], y[inside]


def slope_of(x: Floats, y: Floats) -> Slope | None:
    """Median of the slopes of all pairs of points (Theil 1950), with the interval of Sen (1968); None for too few."""
    n = len(x)
    if n < 12:
        return None
    i, j = np.triu_indices(n, 1)
    slopes = np.sort((y[j] - y[i]) / (x[j] - x[i]))
    reach = _Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(int((len(slopes) - reach) / 2), 0)
    high = min(int((len(slopes) + reach) / 2) + 1, len(slopes) - 1)
    return Slope(float(slopes[low]), float(np.median(slopes)), float(slopes[high]))
