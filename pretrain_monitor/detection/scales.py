"""On which scale each signal is judged: its logarithm, or its values as they are."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from .residual import Floats
from .scalar import FEW_SIGNALS

Transform = Literal["auto", "log", "linear"]

_NEAR_ZERO_LOSS = 0.05  # below this a log scale turns ordinary noise into outliers


class Scales:
    """Log or linear, one entry a signal. A change of a log scale is a relative change, whatever the signal's size.

    Args:
        transform: ``auto`` takes the log of what is positive (a loss: of what stays away from zero).
    """

    def __init__(self, transform: Transform) -> None:
        self._transform = transform
        self.is_log = np.zeros(0, dtype=bool)
        self._limits = np.zeros(0)
        self._limit_list: list[float] = []

    def add(self) -> None:
        """A signal more; linear until it is known better."""
        self.is_log = np.append(self.is_log, False)
        self._set_limits(np.append(self._limits, -math.inf))

    def set(self, column: int, name: str, *, is_log: bool) -> None:
        self.is_log[column] = is_log
        self._limits[column] = self._limit_of(name) if is_log else -math.inf
        self._set_limits(self._limits)

    def restore(self, names: list[str], is_log: list[bool]) -> None:
        self.is_log = np.array(is_log, dtype=bool)
        limits = [self._limit_of(name) for name in names]
        self._set_limits(np.where(self.is_log, limits, -math.inf))

    def fits_log(self, name: str, values: Floats) -> bool:
        """Whether a signal with these values is to be judged on a log scale."""
        if self._transform != "auto":
            return self._transform == "log" and bool((values > 0).all())
        return bool((values > self._limit_of(name)).all())

    def outside(self, row: list[float] | Floats) -> list[int]:
        """The columns that are judged on a log scale and have just left its range."""
        if len(row) > FEW_SIGNALS:
            found: list[int] = np.flatnonzero(np.asarray(row) <= self._limits).tolist()
            return found
        return [column for column, limit in enumerate(self._limit_list) if row[column] <= limit]

    def _limit_of(self, name: str) -> float:
        if self._transform == "log":
            return 0.0
        return _NEAR_ZERO_LOSS if name == "loss" or name.endswith("/loss") else 0.0

    def _set_limits(self, limits: Floats) -> None:
        self._limits = limits
        # Comparing a few floats costs less than one numpy call.
        self._limit_list = limits.tolist()


def to_scale(values: Any, *, is_log: bool) -> Any:
    return np.log(np.maximum(values, 1e-300)) if is_log else values


def from_scale(x: float, *, is_log: bool) -> float:
    """Back to the signal's own unit; infinite for a trend far outside float range."""
    if not is_log:
        return x
    return math.exp(x) if x < 700 else math.inf
