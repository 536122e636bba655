"""Rules that compare with a multiple of the usual level, re-implemented from their published description."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from .curves import Curve, Finding
from .limits import RATIOS, Limited
from .rules_windows import (
    LIVE,
    Rows,
    Statistics,
    alerts,
    is_infinite_or_nan,
    mean,
    none_of,
    trailing,
)


@dataclass(frozen=True)
class KillLossSpike(Limited):
    """llm-foundry, ``callbacks/kill_loss_spike_callback.py``, revision 8c8dd48, with its default to log only.

    The window holds W = max(100, 5 % of the run) losses, outliers too. A fifth loss in a row, and each further one, of
    at least twice the mean of the window is a spike. Otherwise, from step 2 W on, half of the window above the cap of
    10 is a high loss. The cap shrinks to the largest of the first 100 losses if W is the step of the first judgement,
    101. A NaN makes the mean NaN for W steps. Assumed: every row is a step, and the run is as long as the curve.
    """

    limit: float = 2.0
    name = "llm-foundry KillLossSpike"
    mode = LIVE
    limits = RATIOS

    def detect(self, curve: Curve) -> list[Finding]:
        width = max(100, round(0.05 * curve.rows))
        first = curve.loss[:100]
        cap = min(10.0, float(first.max())) if width == 101 and not np.isnan(first).any() else 10.0
        usual, share_high = trailing(curve.loss, width, _mean_and_share_above(cap), least=width)
        with np.errstate(invalid="ignore"):
            is_outlier = curve.loss >= self.limit * usual
        is_spike = _length_of_run(is_outlier) > 4
        step = np.arange(1, curve.rows + 1)
        is_high = (step >= 2 * width) & (share_high >= 0.5) & ~is_spike
        return alerts((is_spike, "spike"), (is_high, "divergence"))


def _mean_and_share_above(cap: float) -> Statistics:
    return lambda windows: (*mean(windows), (windows > cap).mean(axis=-1))


def _length_of_run(rows: Rows) -> np.ndarray:
    """How many rows up to and with each have been true without a gap."""
    index = np.arange(1, len(rows) + 1)
    last_false = np.maximum.accumulate(np.where(rows, 0, index))
    return index - last_false


@dataclass(frozen=True)
class UnexpectedlyLarge(Limited):
    """Megatron-LM, ``core/rerun_state_machine.py``, ``is_unexpectedly_large``, revision d98e8a6; off by default.

    |x| at least 10 times the largest of the 100 values after the first, which is left out; that maximum then stays as
    it is. NaN and Inf are passed over here and end the run by a check of their own: an alert.
    """

    limit: float = 10.0
    name = "Megatron-LM is_unexpectedly_large"
    mode = LIVE
    limits = RATIOS

    def detect(self, curve: Curve) -> list[Finding]:
        nonfinite = is_infinite_or_nan(curve)
        fired = none_of(curve)
        judged = np.flatnonzero(~nonfinite[1:]) + 1
        if len(judged) > 100:
            sizes = np.abs(curve.loss[judged])
            fired[judged[100:]] = sizes[100:] >= self.limit * sizes[:100].max()
        return alerts((nonfinite, "nonfinite"), (fired, "spike"))


@dataclass
class SkipSpike(Limited):
    """metaseq, ``trainer.py``, ``skip_spike``, revision f7ffa5f.

    Loss over its moving average (weight 0.2 for the newest, starting at the first loss) above a ratio; a spike does not
    enter the average. One NaN makes the average NaN for good. Assumed: the ratio, since the default of -1 makes no
    rule; and that only the ratio fires, although every step above 1 lowers the learning rate.
    """

    limit: float = 1.25
    mode = LIVE
    limits = RATIOS

    def __post_init__(self) -> None:
        self.name = f"metaseq skip_spike {self.limit:g} (assumed)"

    def detect(self, curve: Curve) -> list[Finding]:
        fired = none_of(curve)
        usual = float(curve.loss[0])
        for row, x in enumerate(curve.loss.tolist()):
            # A product in place of the quotient: the original divides by zero once the average is zero.
            if x > self.limit * usual:
                fired[row] = True
            else:
                usual = 0.8 * usual + 0.2 * x
        return alerts((fired, "spike"))


@dataclass(frozen=True)
class SpikeDetection(Limited):
    """Lightning 2.6.6, ``fabric/utilities/spike.py``, one epoch long; an alert is what would raise its exception.

    From the second batch on: not finite; or larger than the last loss that was no spike and at least 3 times the mean
    of the last 10 such losses, or at most -1 times (``rtol`` 2). Spikes never enter the mean.

    Args:
        limit: ``rtol`` + 1, the multiple of the mean.
    """

    limit: float = 3.0
    name = "Lightning SpikeDetection"
    mode = LIVE
    limits = RATIOS

    def detect(self, curve: Curve) -> list[Finding]:
        fired = none_of(curve)
        last = 0.0
        recent: deque[float] = deque(maxlen=10)
        for row, x in enumerate(curve.loss.tolist()):
            if row > 0 and (not math.isfinite(x) or (not x <= last and self._is_far(x, recent))):
                fired[row] = True
            else:
                recent.append(x)
                last = x
        nonfinite = is_infinite_or_nan(curve)
        return alerts((fired & nonfinite, "nonfinite"), (fired, "spike"))

    def _is_far(self, x: float, recent: deque[float]) -> bool:
        known = [value for value in recent if not math.isnan(value)]  # a running mean leaves NaN out
        usual = sum(known) / len(known) if known else math.nan
        return abs(x - usual) >= abs((self.limit - 1.0) * usual)


@dataclass(frozen=True)
class SpikyLossDetector(Limited):
    """FlagScale's spiky-loss detector, from its description: at least 20 % above the last loss that was no spike.

    That loss stays until a loss is no spike, so a lasting rise fires for good. Inf fires; NaN does not, and takes the
    place of the last loss.

    Args:
        limit: the multiple of the last loss, 1 + 20 %.
    """

    limit: float = 1.2
    name = "FlagScale SpikyLossDetector"
    mode = LIVE
    limits = RATIOS

    def detect(self, curve: Curve) -> list[Finding]:
        fired = none_of(curve)
        last = math.nan
        for row, x in enumerate(curve.loss.tolist()):
            if x > last and x >= self.limit * last:
                fired[row] = True
            else:
                last = x
        return alerts((fired, "spike"))


@dataclass(frozen=True)
class Forgather(Limited):
    """forgather's divergence rule, from its description: 1 nat above the best moving average, three times in a row.

    Moving averages with weight 0.3 for the newest; judged once 10 values are in. A value that is not finite fires at
    once. Assumed: such a value does not enter the average, and the count goes on after an alert.

    Args:
        limit: nats above the best average.
    """

    limit: float = 1.0
    name = "forgather divergence"
    mode = LIVE
    limits = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)

    def detect(self, curve: Curve) -> list[Finding]:
        fired = none_of(curve)
        average = best = math.nan
        seen = in_a_row = 0
        for row, x in enumerate(curve.loss.tolist()):
            if not math.isfinite(x):
                continue
            seen += 1
            average = x if seen == 1 else 0.7 * average + 0.3 * x
            best = average if seen == 1 else min(best, average)
            in_a_row = in_a_row + 1 if seen > 10 and average - best >= self.limit else 0
            fired[row] = in_a_row >= 3
        return alerts((is_infinite_or_nan(curve), "nonfinite"), (fired, "divergence"))
