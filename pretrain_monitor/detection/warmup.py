"""From the first value of a signal to charts that have settled; and over again where its scale changes."""

from __future__ import annotations

import numpy as np

from .history import COARSE_STEPS, History
from .judge import COOL_DOWN, Judge
from .residual import INIT_SAMPLES, MATURE_SAMPLES, RESIDUAL_ROWS, SEEN, Floats, initial_rows, settle_noise
from .scales import Scales, to_scale
from .states import CUSUM_ROWS, STATE_ROWS, SignalStates

_SETTLE_SAMPLES = 96
# Where a sample stands for many steps, one far off trend is told from here on: the run is not young any more.
_COARSE_FROM = 52
# Half a unit of the last digit of a log with five significant digits: nothing smaller is a change.
_RELATIVE_FLOOR = 3e-5


class WarmUp:
    """How far every signal has come: it waits for values, is ready, is charted, and at last mature.

    Args:
        samples: values of a signal before its charts begin.
        memory: time constant of the trend, in samples.
    """

    def __init__(
        self, states: SignalStates, scales: Scales, history: History, judge: Judge, *, samples: int, memory: int
    ) -> None:
        self._states = states
        self._scales = scales
        self._history = history
        self._judge = judge
        self.samples = samples
        self.mature_at = max(MATURE_SAMPLES, 2 * memory, samples + 1)
        self.is_ready: list[bool] = []  # it has a trend, from which its next value can be predicted
        self.waiting: list[int] = []  # columns that are not ready
        self.are_all_mature = False  # of those that are ready
        self.outlier_from = samples  # samples after which a value far off trend is an alarm

    @property
    def judged_from(self) -> int:
        """Samples of a signal after which a value of it may be an alarm or teach its tails."""
        return min(self.samples - COOL_DOWN, self.outlier_from)

    def add(self) -> None:
        self.waiting.append(len(self.is_ready))
        self.is_ready.append(False)

    def restore(self, is_ready: list[bool]) -> None:
        self.is_ready = list(is_ready)
        self.waiting = [column for column, ready in enumerate(is_ready) if not ready]
        self.check_maturity()

    def check_maturity(self) -> None:
        seen = self._states.seen()
        if self.waiting:
            seen = [count for count, ready in zip(seen, self.is_ready, strict=True) if ready]
        self.are_all_mature = min(seen, default=0) >= self.mature_at

    def take(self, row: list[float]) -> None:
        """Bring on by one row, the newest of the history, what is not mature; NaN where a signal has no value."""
        if not self.are_all_mature:
            is_coarse = self._history.steps_per_row() >= COARSE_STEPS
            self.outlier_from = min(_COARSE_FROM, self.samples) if is_coarse else self.samples
        for column in list(self.waiting):
            if row[column] == row[column]:
                self._collect(column)

    def settle(self) -> None:
        """Measure the noise of signals whose charts begin with the next sample."""
        seen = self._states.seen()
        if self.samples not in seen:
            return
        for column, count in enumerate(seen):
            if count == self.samples and self.is_ready[column]:
                _, values = self._history.column(column, 0)
                recent = values[-_SETTLE_SAMPLES:]
                if len(recent) == _SETTLE_SAMPLES:
                    x = to_scale(recent, is_log=self._scales.is_log[column])
                    settle_noise(self._states.of(column), x)

    def leave_log_scale(self, columns: list[int]) -> None:
        """Judge signals that come near zero on a linear scale from here on; their tails are learned anew."""
        for column in columns:
            _, recent = self._history.column(column, 0)
            state = self._states.of(column)
            seen = float(state[SEEN])
            self._begin_on(column, recent[-INIT_SAMPLES - 1 : -1], is_log=False)
            state[SEEN] = seen
            self._judge.begin(column, seen)

    def _collect(self, column: int) -> None:
        # Until it is ready, the counter of a signal counts the values collected.
        state = self._states.of(column)
        state[SEEN] += 1
        if state[SEEN] <= INIT_SAMPLES:
            return
        # The newest value is not part of it: it is the first to be judged.
        _, values = self._history.column(column, 0)
        if len(values) <= INIT_SAMPLES:
            return  # logged so rarely that the window never holds enough of it: charts would mean nothing
        values = values[-INIT_SAMPLES - 1 : -1]
        collected = float(state[SEEN])
        self._begin_on(column, values, is_log=self._scales.fits_log(column, values))
        state[SEEN] = max(collected - 1, INIT_SAMPLES)
        self._judge.begin(column, float(state[SEEN]))
        self.is_ready[column] = True
        self.waiting.remove(column)
        self.are_all_mature = False

    def _begin_on(self, column: int, values: Floats, *, is_log: bool) -> None:
        """Start a signal's residual from ``values`` on the log or the linear scale."""
        x = np.log(values) if is_log else values
        floor = _RELATIVE_FLOOR if is_log else _RELATIVE_FLOOR * float(np.median(np.abs(values))) + 1e-12
        state = self._states.of(column)
        state[:RESIDUAL_ROWS] = initial_rows(x, floor).tolist()
        state[CUSUM_ROWS.start :] = [0.0] * (STATE_ROWS - CUSUM_ROWS.start)
        self._scales.set(column, is_log=is_log)
