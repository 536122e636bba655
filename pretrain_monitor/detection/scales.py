"""On which scale each signal is judged: its logarithm, or its values as they are."""

from __future__ import annotations

import math
from operator import le
from typing import Any, Literal

import numpy as np

from .residual import Floats

Transform = Literal["auto", "log", "linear"]

_NEAR_ZERO_LOSS = 0.05  # below this a log scale turns ordinary noise into outliers


class Scales:
    """Log or linear, one entry a signal. A change of a log scale is a relative change, whatever the signal's size.

    Args:
        transform: ``auto`` takes the log of what is positive (a loss: of what stays away from zero).
    """

    def __init__(self, transform: Transform) -> None:
        self._transform = transform
        self.is_log: list[bool] = []
        self._ends: list[float] = []  # of the log scale of each signal, whether it is judged on it or not
        self._limits: list[float] = []  # what a value must exceed for its signal to stay on its scale
        # The same for many signals at once.
        self._mask = np.zeros(0, dtype=bool)
        self._limit_row = np.zeros(0)
        self._are_all_log = False

    def add(self, name: str) -> None:
        """A signal more; linear until it is known better."""
        is_loss = name == "loss" or name.endswith("/loss")
        self._ends.append(_NEAR_ZERO_LOSS if is_loss and self._transform != "log" else 0.0)
        self.restore([*self.is_log, False])

    def set(self, column: int, *, is_log: bool) -> None:
        self.is_log[column] = is_log
        self.restore(self.is_log)

    def restore(self, is_log: list[bool]) -> None:
        self.is_log = is_log
        self._limits = [end if log else -math.inf for end, log in zip(self._ends, is_log, strict=True)]
        self._mask, self._limit_row = np.array(is_log, dtype=bool), np.array(self._limits)
        self._are_all_log = all(is_log)

    def fits_log(self, column: int, values: Floats) -> bool:
        """Whether a signal with these values is to be judged on a log scale."""
        if self._transform == "linear":
            return False
        return bool((values > self._ends[column]).all())

    def outside(self, row: list[float] | Floats) -> list[int]:
        """The columns that are judged on a log scale and have just left its range."""
        if isinstance(row, list):
            if not any(map(le, row, self._limits)):
                return []
            return [column for column, limit in enumerate(self._limits) if row[column] <= limit]
        found: list[int] = (row <= self._limit_row).nonzero()[0].tolist()
        return found

    def apply(self, values: Floats, out: Floats) -> None:
        """Values of all signals, each on its scale; what is NaN stays so."""
        if self._are_all_log:
            np.log(values, out=out)
        else:
            np.copyto(out, values)
            np.log(out, out=out, where=self._mask)


def to_scale(values: Any, *, is_log: bool) -> Any:
    return np.log(np.maximum(values, 1e-300)) if is_log else values


def from_scale(x: float, *, is_log: bool) -> float:
    """Back to the signal's own unit; infinite for a trend far outside float range."""
    if not is_log:
        return x
    return math.exp(x) if x < 700 else math.inf
