"""A signal against its trend before an incident: the frozen trend itself, and whether an alarm is a rise at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .alarm import Alarm, Chart
from .bank import SignalBank
from .changepoint import (
    BASELINE_ROWS,
    FrozenBaseline,
    freeze,
    is_only_fall,
    is_only_flattening,
    span,
)
from .noise import is_only_noise
from .residual import Floats

_QUIET_ROWS = 48


def trend_before(
    bank: SignalBank, name: str, row: int, early_reference: float | None, past: tuple[int, int] | None = None
) -> FrozenBaseline | None:
    """The trend of a signal before ``row``; None if it has no sample there.

    Args:
        past: first and last row of the last alert, which are no part of any trend.
        early_reference: best level of the loss so far while the early rules watch, in its own unit.
    """
    column = bank.column(name)
    if column is None:
        return None
    rows, values = bank.history.column(column, row - BASELINE_ROWS)
    before = rows < row
    if past is not None and np.sum(quiet := before & ((rows < past[0]) | (rows > past[1]))) >= _QUIET_ROWS:
        before = quiet
    if not before.any():
        return None
    x = bank.to_scale(name, values)
    reference = None
    if name == "loss" and early_reference is not None:
        reference = float(bank.to_scale(name, early_reference))
    baseline = freeze(rows[before], x[before], row, reference=reference)
    return baseline.not_before(past[1] + 1) if past is not None and past[1] < row else baseline


def residuals_since(
    bank: SignalBank, name: str, baseline: FrozenBaseline, first_row: int, last_row: int
) -> tuple[np.ndarray, Floats]:
    """Rows from ``first_row`` to ``last_row``, and their distance from the frozen trend in sd."""
    column = bank.column(name)
    if column is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    rows, values = bank.history.column(column, first_row)
    if len(rows) and rows[-1] > last_row:
        rows, values = rows[rows <= last_row], values[rows <= last_row]
    return rows, baseline.residuals(rows, bank.to_scale(name, values))


def vetted(bank: SignalBank, alarm: Alarm, baseline: FrozenBaseline) -> Alarm | None:
    """An outlier, level or scale alarm as it is, as a matter of noise, or None if it is a fall or no rise at all."""
    column = bank.column(alarm.signal)
    if column is None:
        return alarm
    rows, values = bank.history.column(column, baseline.first_row)
    x = bank.to_scale(alarm.signal, values)
    y = baseline.residuals(rows, x)
    if alarm.chart is Chart.OUTLIER:
        # The live trend has followed a dip; what lies below the trend before it has risen from nothing.
        return alarm if len(y) and y[-1] > 0 else None
    if alarm.chart is Chart.SCALE:
        return None if is_only_fall(y) else alarm
    first, last = span(y, [], len(y) - 1, is_shift=True)
    if is_only_flattening(x, baseline.scale, first):
        return None
    return replace(alarm, chart=Chart.SCALE) if is_only_noise(y[first : last + 1]) else alarm
