"""Rules of tools that read a finished log, re-implemented from their published description."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curves import Curve, Finding, Floats
from .limits import RATIOS, SIGMAS, Limited
from .rules_windows import (
    OFFLINE,
    Rows,
    alerts,
    grad_norm,
    is_infinite_or_nan,
    mean,
    median_and_count_without_nan,
    median_and_mad,
    none_of,
    trailing,
)


@dataclass
class Trainspotter(Limited):
    """trainspotter 0.2.6: its detectors ``spikes``, ``divergence`` and ``grad_norm``.

    Spike: 0.6745 |x - median| / MAD above 6 over the last 21 values, x among them; runs with gaps of up to two rows are
    one finding at its peak, an error from 10.8 on. Norm: the same above 10, upwards only. Divergence, an error:
    anything not finite (at the first); or a last quarter that rises (normal test, p < 0.05) to 1.5 times the minimum
    (at its start). A NaN makes the median NaN for 21 rows.

    Args:
        limit: of the spike rule; that of the norm and that of an error go with it, in the proportion of the defaults.
        errors_only: findings of severity error only, what its gate for CI fails on.
    """

    limit: float = 6.0
    errors_only: bool = False
    mode = OFFLINE
    limits = SIGMAS

    def __post_init__(self) -> None:
        self.name = "trainspotter, errors" if self.errors_only else "trainspotter"

    def detect(self, curve: Curve) -> list[Finding]:
        z = np.abs(_robust_z(curve.loss)) if curve.rows >= 5 else np.zeros(curve.rows)
        found = list(_peaks(z, self.limit, 1.8 * self.limit if self.errors_only else 0.0, "spike"))
        norm = grad_norm(curve)
        if norm is not None and curve.rows >= 5 and not self.errors_only:
            found += _peaks(_robust_z(norm), self.limit * 10 / 6, 0.0, "grad_spike")
        nonfinite = np.flatnonzero(is_infinite_or_nan(curve))
        if len(nonfinite):
            found.append(Finding(int(nonfinite[0]), kind="nonfinite"))
        with np.errstate(all="ignore"):
            rising = _first_row_of_rising_quarter(curve)
        if rising is not None:
            found.append(Finding(rising, onset=rising, kind="divergence"))
        return sorted(found, key=lambda finding: finding.row)


def _robust_z(values: Floats) -> Floats:
    median, mad = trailing(values, 21, median_and_mad, least=1, with_own=True)
    with np.errstate(invalid="ignore"):
        z: Floats = 0.6745 * (values - median) / np.maximum(mad, 1e-12)
    return z


def _peaks(z: Floats, limit: float, peak_limit: float, kind: str) -> Iterable[Finding]:
    """Runs of rows above the limit, not more than two apart, whose highest row reaches the second one."""
    rows = np.flatnonzero(z > limit)
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > 2) + 1) if len(rows) else []:
        peak = int(run[np.argmax(z[run])])
        if z[peak] >= peak_limit:
            yield Finding(peak, onset=int(run[0]), kind=kind)


def _first_row_of_rising_quarter(curve: Curve) -> int | None:
    rows = np.flatnonzero(np.isfinite(curve.loss))
    n, tail = len(rows), max(10, int(0.25 * len(rows)))
    if tail >= n:
        return None
    x, y = curve.steps[rows[-tail:]].astype(np.float64), curve.loss[rows[-tail:]]
    x = x - x.mean()
    spread = float(x @ x)
    if spread == 0:
        return None
    slope = float(x @ y) / spread
    error = math.sqrt(float(np.sum((y - y.mean() - slope * x) ** 2)) / (tail - 2) / spread)
    p = math.erfc(slope / error / math.sqrt(2)) if slope > 0 and error > 0 else float(slope <= 0)
    lowest = float(curve.loss[rows].min())
    has_risen = y[-1] >= 1.5 * lowest if lowest > 0 else y[-1] > 0
    return int(rows[-tail]) if p < 0.05 and has_risen else None


@dataclass(frozen=True)
class Losslint(Limited):
    """losslint 0.4.1, ``checks.py``: spikes, and values that are not finite.

    Loss above 10 times the median of up to 12 finite losses on each side, itself left out, with five at least. Every
    such row counts, where a finding of the original lists five; of values that are not finite the first five of each
    signal count, as there: with a loss scaler an overflow of the norm now and then is healthy. Its divergence check
    names no step and has no place here.
    """

    limit: float = 10.0
    name = "losslint"
    mode = OFFLINE
    limits = RATIOS

    def detect(self, curve: Curve) -> list[Finding]:
        nonfinite = _first(is_infinite_or_nan(curve), 5)
        norm = grad_norm(curve)
        if norm is not None:
            nonfinite |= _first(~np.isfinite(norm), 5)
        rows = np.flatnonzero(np.isfinite(curve.loss))
        values = curve.loss[rows]
        # Nothing but a row above the limit times the lowest of its neighbours can be above that times their median.
        padded = np.concatenate([np.full(12, np.inf), values, np.full(12, np.inf)])
        lowest = -trailing(-padded, 25, lambda windows: (windows.max(axis=-1),), least=25, with_own=True)[0][24:]
        fired = none_of(curve)
        for i in np.flatnonzero(values > self.limit * lowest).tolist() if len(values) >= 6 else []:
            around = np.concatenate([values[max(0, i - 12) : i], values[i + 1 : i + 13]])
            usual = float(np.median(around))
            fired[rows[i]] = len(around) >= 5 and usual > 0 and values[i] > self.limit * usual
        return alerts((nonfinite, "nonfinite"), (fired, "spike"))


@dataclass(frozen=True)
class Runmedic(Limited):
    """runmedic 0.1.1, ``checks.py``: non-finite values, divergence, loss spikes and gradient spikes.

    Spike: a residual to the moving average (span n/20) of the row before, above 8 robust deviations of all residuals,
    in a loss above 1.5 times that average; an alert if there are three or one above 3 times, otherwise a note. Norm
    above 10 times its median, the first twentieth left out. Both end a tenth before the first value that is not finite,
    itself told once. Divergence: the last moving average (span n/10, at most 50) gave back over half of what was gained
    down to the best, told there. Every spike counts, where a finding of the original lists ten.

    Args:
        limit: robust deviations of a loss spike; how far it has to be above its average goes with it, in the
            proportion of the defaults.
    """

    limit: float = 8.0
    name = "runmedic"
    mode = OFFLINE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        norm = grad_norm(curve)
        bad_loss = np.flatnonzero(is_infinite_or_nan(curve)).tolist()
        bad_norm = [] if norm is None else np.flatnonzero(~np.isfinite(norm)).tolist()
        end = min(bad_loss[:1] + bad_norm[:1], default=curve.rows)
        found = [Finding(row, kind="nonfinite") for row in (bad_loss or bad_norm)[:1]]
        if not bad_loss and (best := _row_of_best_before_loss_of_progress(curve.loss)) is not None:
            found.append(Finding(best, onset=best, kind="divergence"))
        found += self._spikes(_before_blow_up(curve.loss, end))
        if norm is not None and int(np.isfinite(norm).sum()) >= 20:
            found += _high_norms(_before_blow_up(norm, end))
        return sorted(found, key=lambda finding: finding.row)

    def _spikes(self, loss: Floats) -> list[Finding]:
        if len(loss) < 30:
            return []
        trend = _moving_average(loss, max(5, len(loss) // 20))
        before = np.concatenate([trend[:1], trend[:-1]])
        residual = loss - before
        median, mad = median_and_mad(residual)
        least = 1 + 0.5 * self.limit / 8
        scale = 1.4826 * float(mad) or float(residual.std()) or 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            is_spike = ((residual - median) / scale > self.limit) & (before > 0) & (loss > least * before)
            worst = float(np.max(loss / before, where=is_spike, initial=0.0))
        is_spike[0] = False
        rows = np.flatnonzero(is_spike).tolist()
        return [Finding(row, kind="spike", is_alert=len(rows) >= 3 or worst > 3) for row in rows]


def _before_blow_up(values: Floats, end: int) -> Floats:
    """All, or what lies a tenth (at least ten rows) before the first row that is not finite."""
    return values if end == len(values) else values[: max(0, end - max(10, end // 10))]


def _high_norms(norm: Floats) -> list[Finding]:
    skipped = max(5, len(norm) // 20)
    judged = norm[skipped:]
    usual = float(np.median(judged)) if len(judged) >= 10 else 0.0
    rows = np.flatnonzero(judged > 10 * usual).tolist() if usual > 0 else []
    return [Finding(row + skipped, kind="grad_spike") for row in rows]


def _row_of_best_before_loss_of_progress(loss: Floats) -> int | None:
    n = len(loss)
    if n < 20:
        return None
    smooth = _moving_average(loss, max(2, min(50, n // 10)))
    best = int(np.argmin(smooth))
    # On a constant loss rounding decides, in the original too: as exact a mean as it takes.
    gained = statistics.fmean(smooth[: max(1, int(0.05 * n))].tolist()) - float(smooth[best])
    lost = float(smooth[-1] - smooth[best])
    return best if gained > 0 and best <= 0.9 * n and lost > 0.5 * gained else None


def _moving_average(values: Floats, span: int) -> Floats:
    """Exponential, with weight 2 / (span + 1) for the newest, starting at the first value."""
    weight, average = 2 / (span + 1), float(values[0])
    out = np.empty(len(values))
    for i, x in enumerate(values.tolist()):
        average = weight * x + (1 - weight) * average
        out[i] = average
    return out


@dataclass(frozen=True)
class Gradsnitch(Limited):
    """gradsnitch 0.1.0: gradient spike, loss divergence, loss or norm not finite. Each is told once, at its first row.

    Norm above 8 times the median of the last 50, itself among them, from ten on. Divergence, unless a loss is not
    finite: the mean of 20 (at least 5) ends 30 % above its minimum and was 15 % above it on 20 rows after; told at the
    minimum. A norm of NaN counts as not logged. No rule for loss spikes.

    Args:
        limit: of the norm.
    """

    limit: float = 8.0
    name = "gradsnitch"
    mode = OFFLINE
    limits = (*RATIOS[:-2], 8.0, *RATIOS[-2:])

    def detect(self, curve: Curve) -> list[Finding]:
        bad_loss = is_infinite_or_nan(curve)
        fired = [(_first(bad_loss), "nonfinite")]
        if not bad_loss.any():
            fired.append((_minimum_before_rise(curve.loss), "divergence"))
        norm = grad_norm(curve)
        if norm is not None:
            logged = np.where(np.isinf(norm), np.nan, norm)  # a rolling median of pandas takes Inf for missing
            median, count = trailing(logged, 50, median_and_count_without_nan, least=1, with_own=True)
            with np.errstate(invalid="ignore"):
                fired.append((_first((count >= 10) & (norm > self.limit * median)), "grad_spike"))
            fired.append((_first(np.isinf(norm)), "nonfinite"))
        return alerts(*fired)


def _first(rows: Rows, count: int = 1) -> Rows:
    """Only the first of the rows, or the first so many."""
    index: NDArray[np.intp] = np.flatnonzero(rows)[:count]
    only = np.zeros(len(rows), dtype=bool)
    only[index] = True
    return only


def _minimum_before_rise(loss: Floats) -> Rows:
    fired = np.zeros(len(loss), dtype=bool)
    (smooth,) = trailing(loss, 20, mean, least=5, with_own=True)
    if len(loss) < 44:
        return fired
    lowest = int(np.nanargmin(smooth))
    low, after = float(smooth[lowest]), smooth[lowest:]
    is_lasting = (after > low * 1.15).sum() >= 20
    fired[lowest] = low > 0 and (after[-1] - low) / low >= 0.3 and is_lasting
    return fired
