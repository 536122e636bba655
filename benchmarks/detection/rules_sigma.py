"""Rules that count standard deviations of a trailing window, re-implemented from their published description."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from .curves import Curve, Finding, Floats
from .limits import SIGMAS, Limited
from .rules_windows import (
    LIVE,
    Rows,
    alerts,
    grad_norm,
    is_infinite_or_nan,
    mean_and_sd,
    mean_and_sd_without_nan,
    mean_and_unbiased_sd,
    on_finite,
    on_loss_and_norm,
    trailing,
)


@dataclass(frozen=True)
class StabilityMonitor(Limited):
    """OLMo-core, ``train/callbacks/stability_monitor.py``, revision fa6c501.

    Loss or gradient norm above mean + 6 population standard deviations of the last 128 values, once there are so many;
    a window without spread is not judged. Every value enters its window, a spike and NaN too, so a NaN blinds the rule
    of its signal for 128 rows. Assumed: that the trainer stops at a loss that is not finite counts as an alert.
    """

    limit: float = 6.0
    name = "OLMo-core StabilityMonitor"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts((is_infinite_or_nan(curve), "nonfinite"), *on_loss_and_norm(curve, self._is_high))

    def _is_high(self, values: Floats) -> Rows:
        mean, sd = trailing(values, 128, mean_and_sd, least=128)
        fired: Rows = (sd >= 1e-10) & (values > mean + self.limit * sd)
        return fired


@dataclass(frozen=True)
class SkipStepOptimizer(Limited):
    """OLMo-core, ``optim/skip_step_optimizer.py``, revision fa6c501; an alert is a skipped step.

    A step is taken if loss and gradient norm are at most 6 unbiased standard deviations above the mean of the last 128
    values; judged from the 64th value on, itself included. A comparison with NaN is not true: a NaN is skipped, stays
    in its window and has the 128 steps after it skipped too.
    """

    limit: float = 6.0
    name = "OLMo-core SkipStepOptimizer"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts(*on_loss_and_norm(curve, self._is_skipped))

    def _is_skipped(self, values: Floats) -> Rows:
        mean, sd = trailing(values, 128, mean_and_unbiased_sd, least=63)
        with np.errstate(invalid="ignore"):
            skipped: Rows = ~(values - mean <= self.limit * sd)
        skipped[:63] = False
        return skipped


@dataclass(frozen=True)
class LevanterSkipStep(Limited):
    """Levanter, ``optim/skipstep.py``, revision 9263f81; an alert is a skipped step, or the stop at a bad loss.

    As in OLMo-core, but over up to 129 values before the step, once there are 64; population standard deviation with a
    floor of 1e-6. NaN in the window is left out of its statistics, so that only the NaN's own step is skipped; an
    Inf lifts the threshold to infinity for 129 steps. By default the trainer stops at a loss that is not finite.
    """

    limit: float = 6.0
    name = "Levanter SkipStep"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts((is_infinite_or_nan(curve), "nonfinite"), *on_loss_and_norm(curve, self._is_skipped))

    def _is_skipped(self, values: Floats) -> Rows:
        mean, sd = trailing(values, 129, mean_and_sd_without_nan, least=64)
        skipped: Rows = ~(values <= mean + self.limit * np.where(sd >= 1e-6, sd, 1e-6))
        skipped[:64] = False
        return skipped


@dataclass(frozen=True)
class LlmcOutlierDetector(Limited):
    """llm.c, ``llmc/outlier_detector.h``; an alert is a skipped update. Off by default, 3 is what its help suggests.

    Loss or gradient norm above 3 standard deviations of the last 64 values, the value itself among them. The first two
    outliers in a row are taken out of the window again. Running sums, so that one NaN or Inf ends it for good. The code
    puts the old value back into the wrong slot; this is what was meant. Assumed: each signal has a window of its own.
    """

    limit: float = 3.0
    name = "llm.c OutlierDetector"
    mode = LIVE
    limits = tuple(limit for limit in SIGMAS if limit < 8)  # z cannot exceed sqrt(63)

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts(*on_loss_and_norm(curve, self._is_outlier))

    def _is_outlier(self, values: Floats) -> Rows:
        fired = np.zeros(len(values), dtype=bool)
        window: deque[float] = deque()
        total = total_sq = 0.0
        in_a_row = 0
        for row, x in enumerate(values.tolist()):
            if not math.isfinite(x):
                break
            oldest = window.popleft() if len(window) == 64 else None
            window.append(x)
            total, total_sq = total + x, total_sq + x * x
            if oldest is None:
                continue
            total, total_sq = total - oldest, total_sq - oldest * oldest
            mean = total / 64
            variance = total_sq / 64 - mean * mean
            if not (variance > 0 and (x - mean) / math.sqrt(variance) > self.limit):
                in_a_row = 0
                continue
            fired[row] = True
            in_a_row += 1
            if in_a_row < 3:
                window.pop()
                window.appendleft(oldest)
                total, total_sq = total + oldest - x, total_sq + oldest * oldest - x * x
        return fired


@dataclass(frozen=True)
class WandbZScore(Limited):
    """Weights & Biases automation on a z-score (server side), from its documentation: window 30, 3, either direction.

    Assumed: the last 30 values without the newest, population standard deviation, values that are not finite left out,
    nothing raised without spread.
    """

    limit: float = 3.0
    name = "W&B z-score automation"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts((on_finite(curve.loss, self._is_far), "spike"))

    def _is_far(self, values: Floats) -> Rows:
        mean, sd = trailing(values, 30, mean_and_sd, least=30)
        fired: Rows = (sd > 0) & (np.abs(values - mean) > self.limit * sd)
        return fired


@dataclass(frozen=True)
class ZClip(Limited):
    """zclip 1.0.0, ``zclip/zclip.py``, on the gradient norm; an alert is a step that it clips to its adaptive bound.

    z = (norm - mean) / (sd + 1e-6) above 2.5, with moving averages (0.97) of mean and variance that start from the
    first 25 norms and take in the clipped norm, mean + 2.5 sd / (z / 2.5). A NaN ends it for good. Its fixed bound of
    1.0 on every norm is no alert. Silent without a gradient norm.
    """

    limit: float = 2.5
    name = "ZClip"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        norm = grad_norm(curve)
        return [] if norm is None else alerts((self._is_clipped(norm), "grad_spike"))

    def _is_clipped(self, norms: Floats) -> Rows:
        fired = np.zeros(len(norms), dtype=bool)
        with np.errstate(invalid="ignore", over="ignore"):
            mean, variance = float(norms[:25].mean()), float(norms[:25].var())
        for row, norm in enumerate(norms[25:].tolist(), start=25):
            sd = math.sqrt(variance)
            z = (norm - mean) / (sd + 1e-6)
            if z > self.limit:
                fired[row] = True
                norm = mean + self.limit * sd / (z / self.limit)
            mean = 0.97 * mean + 0.03 * norm
            variance = 0.97 * variance + 0.03 * (norm - mean) * (norm - mean)
        return fired
