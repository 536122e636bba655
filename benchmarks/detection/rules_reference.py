"""Reference rules of our own, the least that a detector has to beat."""

from __future__ import annotations

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
    none_of,
    on_finite,
    trailing,
)


@dataclass(frozen=True)
class NanOnly:
    """Loss or gradient norm that is not finite, and nothing else: the reference that any detector has to beat."""

    name = "nan-only"
    mode = LIVE

    def detect(self, curve: Curve) -> list[Finding]:
        norm = grad_norm(curve)
        bad_norm = none_of(curve) if norm is None else ~np.isfinite(norm)
        return alerts((is_infinite_or_nan(curve) | bad_norm, "nonfinite"))


@dataclass
class ZScore(Limited):
    """The textbook rule, a reference of our own: x above mean + 4 population standard deviations of the last 100.

    From 30 values on. A value that is not finite is an alert by itself and does not enter the window.

    Args:
        on_log: judge the logarithm, in which noise proportional to the loss is of one size.
    """

    limit: float = 4.0
    on_log: bool = False
    mode = LIVE
    limits = SIGMAS

    def __post_init__(self) -> None:
        self.name = "z4-w100 of log loss" if self.on_log else "z4-w100"

    def detect(self, curve: Curve) -> list[Finding]:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(curve.loss) if self.on_log else curve.loss
        return alerts((is_infinite_or_nan(curve), "nonfinite"), (on_finite(values, self._is_high), "spike"))

    def _is_high(self, values: Floats) -> Rows:
        mean, sd = trailing(values, 100, mean_and_sd, least=30)
        fired: Rows = values - mean > self.limit * (sd + 1e-12)
        return fired


@dataclass(frozen=True)
class DetrendedMad(Limited):
    """A reference of our own: 7 robust deviations above the straight line through the last 64 values, from 32 on.

    The line has the slope between the medians of both halves and passes through the median in the middle. A value that
    is not finite is an alert by itself and does not enter the window.
    """

    limit: float = 7.0
    name = "detrended-MAD7"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts((is_infinite_or_nan(curve), "nonfinite"), (on_finite(curve.loss, self._is_high), "spike"))

    def _is_high(self, values: Floats) -> Rows:
        expected, scale = trailing(values, 64, _line_and_scale, least=32)
        fired: Rows = values - expected > self.limit * scale
        return fired


def _line_and_scale(windows: Floats) -> tuple[Floats, ...]:
    """The line one row past the window, and the robust deviation from the line."""
    n = windows.shape[-1]
    half = n // 2
    slope = (np.median(windows[..., half:], axis=-1) - np.median(windows[..., :half], axis=-1)) / (n - half)
    level = np.median(windows, axis=-1)
    line = level[..., np.newaxis] + slope[..., np.newaxis] * (np.arange(n) - (n - 1) / 2)
    off_line = np.median(np.abs(windows - line), axis=-1)
    return level + slope * (n + 1) / 2, 1.4826 * off_line + 1e-12
