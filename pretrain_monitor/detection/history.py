"""The last thousand samples of every signal, in order and in constant memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .codec import decode, encode
from .residual import Floats

KEPT_ROWS = 1024
_WAITING_ROWS = 64
_GAP_ROWS = 8
# A sample that stands for so many steps is no single batch: where they were averaged, all of them were high, and where
# only the last was logged, it would be a rare chance to log just the bad one.
COARSE_STEPS = 5


class History:
    """A sliding window over rows of samples; one row an observed sample, one column a signal, NaN where unknown.

    Rows carry absolute numbers, so that a baseline frozen at one row keeps its meaning while the window moves on.
    """

    def __init__(self) -> None:
        # Twice the window: sliding copies once per KEPT_ROWS rows and every slice stays contiguous.
        self._values = np.full((2 * KEPT_ROWS, 0), np.nan)
        self._steps = np.zeros(2 * KEPT_ROWS, dtype=np.int64)
        self._end = 0
        self._waiting: list[tuple[int, list[float] | Floats]] = []
        self.rows = 0  # rows ever seen; the newest has number rows - 1

    def add_column(self) -> None:
        self._settle()
        column = np.full((len(self._values), 1), np.nan)
        self._values = np.concatenate([self._values, column], axis=1)

    def append(self, step: int, values: list[float] | Floats) -> None:
        """Add the newest row. The values are kept as they are and must not change afterwards."""
        # Put into the arrays some at a time, or when somebody looks: most steps nobody does.
        self._waiting.append((step, values))
        self.rows += 1
        if len(self._waiting) == _WAITING_ROWS:
            self._settle()

    def _settle(self) -> None:
        count = len(self._waiting)
        if not count:
            return
        if self._end + count > len(self._steps):
            kept = slice(self._end - KEPT_ROWS, self._end)
            self._values[:KEPT_ROWS] = self._values[kept]
            self._steps[:KEPT_ROWS] = self._steps[kept]
            self._end = KEPT_ROWS
        stop = self._end + count
        self._values[self._end : stop] = [values for _, values in self._waiting]
        self._steps[self._end : stop] = [step for step, _ in self._waiting]
        self._end = stop
        self._waiting.clear()

    def newest(self, column: int) -> float:
        """Value of a signal in the newest row, NaN where unknown."""
        if self._waiting:
            return float(self._waiting[-1][1][column])
        return float(self._values[self._end - 1, column])

    def steps_per_row(self) -> int:
        """Optimizer steps from one of the newest rows to the next."""
        reach = min(self.rows - 1, _GAP_ROWS)
        return round((self.step_of(self.rows - 1) - self.step_of(self.rows - 1 - reach)) / reach) if reach > 0 else 1

    def column(self, column: int, since_row: int) -> tuple[np.ndarray, Floats]:
        """Row numbers and values of one signal's finite samples from ``since_row`` on, as far as they are kept."""
        self._settle()
        first = self._first_index(since_row)
        values = self._values[first : self._end, column]
        finite = np.isfinite(values)
        rows = np.arange(self.rows - (self._end - first), self.rows)
        return rows[finite], values[finite]

    def step_of(self, row: int) -> int:
        """Optimizer step of a row; the oldest kept one if the row has left the window."""
        if 0 < (age := self.rows - row) <= len(self._waiting):
            return self._waiting[-age][0]
        self._settle()
        return int(self._steps[min(self._first_index(row), self._end - 1)])

    def _first_index(self, row: int) -> int:
        kept = min(self._end, KEPT_ROWS)
        return self._end - min(max(self.rows - row, 0), kept)

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        first = self._first_index(0)
        return {
            "rows": self.rows,
            "values": encode(self._values[first : self._end]),
            "steps": self._steps[first : self._end].tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        values = decode(state["values"])
        self._values = np.full((2 * KEPT_ROWS, values.shape[1]), np.nan)
        self._end = len(values)
        self._values[: self._end] = values
        self._steps[: self._end] = state["steps"]
        self.rows = state["rows"]
