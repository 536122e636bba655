"""A finished run's loss as a whole: its trend from both sides, and all that stands clear of it."""

from __future__ import annotations

import math

import numpy as np

from .excursions import COARSE_STEPS, FEWEST_HIGH, Excursion, excursions, mean_scores
from .regular import period_of
from .rises import Levels, Rise
from .two_sided import Floats, Rows, two_sided

# In sd, of three rows and more. Without a witness 8: two rows, which count 5 each at most, reach 7 and have no chance.
# The witness is the live detector or the gradient norm; what comes to it by chance is as good as independent.
ALONE_SD, WITNESSED_SD = 8.0, 6.0
ALONE_ROW_SD = 10.0  # a single row, where it stands for five optimizer steps or more
LASTING_SD = 5.0  # of levels of 32 rows and more: unlike means of few rows these keep nothing of a heavy tail
FEWEST_ROWS = 100  # of a run, to say what is usual in it
EARLY_ROWS = 150  # live detection has rules of its own for these: there is no noise to go by yet
_STEEP_ROWS, _BLOW_UP = 64, 1.3  # while the loss falls steeply, a rise counts from this factor on, as live
_BEFORE_ROWS = 5
_LIKE = 2.0  # times: rises of one cycle are of one size


class Whole:
    """What both the review of incidents and the search for more look at; rows count finite values.

    Args:
        loss: steps and values.
        grad_norm: the same; None if it was not logged.
    """

    def __init__(self, loss: tuple[Rows, Floats], grad_norm: tuple[Rows, Floats] | None = None) -> None:
        self.all_steps = loss[0]
        self.run = two_sided(*loss)
        self.z = self.run.z
        self.scores, self.lengths = mean_scores(self.z)
        self._high_norm_steps = np.zeros(0, dtype=np.int64) if grad_norm is None else _high_steps(*grad_norm)
        self.levels = Levels(self.run)
        self.clear: list[Excursion] = []
        self.rises: list[Rise] = []
        if self.rows >= FEWEST_ROWS:
            found = excursions(self.run, self.scores, self.lengths, WITNESSED_SD)
            self.clear = [one for one in found if self._is_clear(one)]
            self.rises = self.levels.rises(LASTING_SD)

    @property
    def rows(self) -> int:
        return len(self.z)

    def place(self, step: int) -> int:
        """The first row at or behind a step, or the last of all; 0 in a run without any."""
        return max(min(int(np.searchsorted(self.run.steps, step)), self.rows - 1), 0)

    def row_in_series(self, step: int) -> int:
        """The same among all values, finite or not."""
        return min(int(np.searchsorted(self.all_steps, step)), len(self.all_steps) - 1)

    def is_coarse(self, row: int) -> bool:
        return self.run.steps_per_row(row) >= COARSE_STEPS

    def period_steps(self, rise: Rise) -> int | None:
        """Steps after which a rise of the like height comes again, all over the run; None if it does not."""
        like = [
            other.row
            for other in self.rises
            if other.length == rise.length and rise.height / _LIKE <= other.height <= rise.height * _LIKE
        ]
        period = period_of(rise.row, like, rise.length, self.rows)
        return None if period is None else round(period * float(np.median(np.diff(self.run.steps))))

    def best_level(self, row: int) -> float:
        """The lowest median of some rows up to a row, in units of ``x``: what a blow-up near the start rises from."""
        x = self.run.x[: row + 1]
        if len(x) <= _BEFORE_ROWS:
            return float(np.median(x))
        return float(np.median(np.lib.stride_tricks.sliding_window_view(x, _BEFORE_ROWS), axis=-1).min())

    def _is_clear(self, found: Excursion) -> bool:
        """Whether a stretch is an alert by itself: of three rows and more, or of a row that stands for many steps."""
        if found.first < _BEFORE_ROWS:
            return False
        is_witnessed = self._has_high_norm(found)
        least = WITNESSED_SD if is_witnessed else ALONE_SD
        is_high = found.high >= FEWEST_HIGH and found.peak_sd >= least
        is_high |= self.is_coarse(found.peak) and found.peak_sd >= (least if is_witnessed else ALONE_ROW_SD)
        if not (is_high or found.mean_sd >= least):
            return False
        # A loss that only falls more slowly for some rows has not risen.
        rise = float(self.run.x[found.peak] - np.median(self.run.x[found.first - _BEFORE_ROWS : found.first]))
        if found.first >= _STEEP_ROWS or not self.run.is_log:
            return rise >= found.height / 2
        return rise >= math.log(_BLOW_UP)

    def _has_high_norm(self, found: Excursion) -> bool:
        """Whether the gradient norm stood high, too, from the row before to the row behind."""
        first = self.run.steps[max(found.first - 1, 0)]
        last = self.run.steps[min(found.last + 1, self.rows - 1)]
        return bool(np.any((self._high_norm_steps >= first) & (self._high_norm_steps <= last)))


def _high_steps(steps: Rows, values: Floats) -> Rows:
    """Steps at which a signal stands high over its own trend."""
    run = two_sided(steps, values)
    return run.steps[run.z >= ALONE_SD]
