"""Live tools that watch loss, gradient norm and learning rate by several rules, re-implemented."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .curves import Curve, Finding, Floats
from .limits import RATIOS, SIGMAS, Limited
from .rules_windows import (
    LIVE,
    Rows,
    alerts,
    grad_norm,
    is_infinite_or_nan,
    mean,
    median_and_mad,
    none_of,
    trailing,
)


@dataclass(frozen=True)
class Llmreport(Limited):
    """llmreport 0.3.0, ``tracking.py``: its alerts on loss and gradient norm; its note of a plateau is left out.

    Once the last 50 values are all there and finite: loss above median + max(6 MAD, a quarter of the median), MAD
    unscaled; norm above 10 times its median. A norm below 1e-7 three times in a row. Each told again after 50 steps. A
    value that is not finite is told every 10 steps, enters its window and so blinds the rule for 50 rows.

    Args:
        limit: multiple of the MAD. The two others go with it, in the proportion of the defaults, so that the rule has
            one knob; llmreport itself has none.
    """

    limit: float = 6.0
    name = "llmreport"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        median, mad = _median_and_mad_of_full(curve.loss)
        by = self.limit / 6.0
        with np.errstate(invalid="ignore"):
            is_spike = curve.loss > median + by * np.maximum(6 * mad, 0.25 * np.abs(median))
        bad_loss, is_high, bad_norm, is_tiny = is_infinite_or_nan(curve), none_of(curve), none_of(curve), none_of(curve)
        norm = grad_norm(curve)
        if norm is not None:
            bad_norm = ~np.isfinite(norm)
            usual, _ = _median_and_mad_of_full(norm)
            with np.errstate(invalid="ignore"):
                is_high = ~bad_norm & (usual > 0) & (norm > 10 * by * usual)
            is_tiny = _third_in_a_row(norm)
        steps = curve.steps.tolist()
        return alerts(
            (_at_most_every(10, bad_loss, steps), "nonfinite"),
            (_at_most_every(50, is_spike & ~bad_loss, steps), "spike"),
            (_at_most_every(10, bad_norm, steps), "nonfinite"),
            (_at_most_every(50, is_high, steps), "grad_spike"),
            (_at_most_every(50, is_tiny, steps), "grad_spike"),
        )


def _median_and_mad_of_full(values: Floats) -> Floats:
    """Of the last 50 values before each row; NaN unless all of them are finite."""
    return trailing(np.where(np.isfinite(values), values, np.nan), 50, median_and_mad, least=50)


def _third_in_a_row(norm: Floats) -> Rows:
    """Rows that bring the third finite norm below 1e-7 without a larger one between."""
    fired = np.zeros(len(norm), dtype=bool)
    tiny = 0
    for row, x in enumerate(norm.tolist()):
        if math.isfinite(x):
            tiny = tiny + 1 if x < 1e-7 else 0
            fired[row] = tiny == 3
    return fired


def _at_most_every(cooldown: int, rows: Rows, steps: list[int]) -> Rows:
    """Those of the rows that come so many steps after the last of them that was kept."""
    kept = np.zeros(len(rows), dtype=bool)
    last: int | None = None
    for row in np.flatnonzero(rows).tolist():
        if last is None or steps[row] - last >= cooldown:
            kept[row] = True
            last = steps[row]
    return kept


@dataclass
class Trainpulse(Limited):
    """trainpulse 0.4.0, ``detectors.py``, without its rule on the time of a step.

    Loss above 5 times the mean of the last 50; gradient norm above 100, or above 0 and below 1e-7; learning rate
    changed by more than 10 times between two rows; any of them not finite; no loss below the best by 1e-5 for 100 rows,
    told once until the next such loss. Spikes and NaN enter the window: one NaN blinds the spike rule for 50 rows.

    Args:
        with_plateau: whether the last of these counts as an alert.
    """

    limit: float = 5.0
    with_plateau: bool = True
    mode = LIVE
    limits = RATIOS

    def __post_init__(self) -> None:
        self.name = "trainpulse" if self.with_plateau else "trainpulse without plateau"

    def detect(self, curve: Curve) -> list[Finding]:
        (usual,) = trailing(curve.loss, 50, mean, least=50)
        norm = grad_norm(curve)
        rate = curve.others.get("learning_rate")
        nonfinite = is_infinite_or_nan(curve)
        for signal in (norm, rate):
            if signal is not None:
                nonfinite = nonfinite | ~np.isfinite(signal)
        with np.errstate(invalid="ignore"):
            is_spike = (usual > 0) & (curve.loss > self.limit * usual)
            is_odd_norm = none_of(curve) if norm is None else (norm > 100) | ((norm > 0) & (norm < 1e-7))
        return alerts(
            (nonfinite, "nonfinite"),
            (is_spike, "spike"),
            (is_odd_norm, "grad_spike"),
            (none_of(curve) if rate is None else _has_jumped(rate), "lr_anomaly"),
            (_is_flat(curve.loss) if self.with_plateau else none_of(curve), "plateau"),
        )


def _has_jumped(rate: Floats) -> Rows:
    fired = np.zeros(len(rate), dtype=bool)
    before, after = rate[:-1], rate[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.maximum(after / before, before / after)
        fired[1:] = (before > 0) & (after > 0) & (ratio > 10)
    return fired


def _is_flat(loss: Floats) -> Rows:
    """Rows at which the loss has for 100 rows not come 1e-5 below its best."""
    fired = np.zeros(len(loss), dtype=bool)
    best, best_row = float(loss[0]), 0
    for row, x in enumerate(loss.tolist()):
        if x < best - 1e-5:
            best, best_row = x, row
        elif row - best_row == 100:
            fired[row] = True
    return fired
