"""The three loss detectors of trainscope 1.8.1, re-implemented: the package itself weighs hundreds of megabytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curves import Curve, Finding, Floats
from .limits import SIGMAS, Limited
from .rules_windows import (
    LIVE,
    Rows,
    alerts,
    mean_and_unbiased_sd,
    median_and_mad,
    on_finite,
    trailing,
)


@dataclass(frozen=True)
class TrainscopeCusum(Limited):
    """trainscope 1.8.1, detector ``changepoint``, its default. Page's (1954) cumulative sums, on both sides.

    z = (x - median) / (1.4826 MAD) over the last 200, from 30 on; sums of z - 1 and z + 1; an alert once either reaches
    6, then both start again. Every value enters the window. The optional segmentation only alters the score of an
    alert. Values that are not finite never reach it.
    """

    limit: float = 6.0
    name = "trainscope changepoint"
    mode = LIVE
    limits = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 1000.0)

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts((on_finite(curve.loss, self._has_changed), "level_shift"))

    def _has_changed(self, values: Floats) -> Rows:
        median, mad = trailing(values, 200, median_and_mad, least=30)
        z = (values - median) / np.maximum(1.4826 * mad, 1e-12)
        fired = np.zeros(len(values), dtype=bool)
        up = down = 0.0
        for row, x in enumerate(z[30:].tolist(), start=30):
            up = max(0.0, up + x - 1.0)
            down = min(0.0, down + x + 1.0)
            if up >= self.limit or -down >= self.limit:
                fired[row] = True
                up = down = 0.0
        return fired


@dataclass(frozen=True)
class TrainscopeZScore(Limited):
    """trainscope 1.8.1, detector ``z_score``: |x - mean| above 3.5 unbiased deviations of the last 200, min 30.

    Any other value after a window without spread fires. Values that are not finite never reach it. The package keeps
    running sums, whose rounding makes it fire on every row of a loss that has become exactly constant; not so here.
    """

    limit: float = 3.5
    name = "trainscope z_score"
    mode = LIVE
    limits = SIGMAS

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts((on_finite(curve.loss, self._is_far), "spike"))

    def _is_far(self, values: Floats) -> Rows:
        mean, sd = trailing(values, 200, mean_and_unbiased_sd, least=30)
        fired: Rows = np.abs(values - mean) > self.limit * sd
        return fired


@dataclass(frozen=True)
class TrainscopePercentile:
    """trainscope 1.8.1, detector ``percentile``: outside the 1st to 99th percentile of the last 200, from 30 on."""

    name = "trainscope percentile"
    mode = LIVE

    def detect(self, curve: Curve) -> list[Finding]:
        return alerts((on_finite(curve.loss, _is_outside), "spike"))


def _is_outside(values: Floats) -> Rows:
    low, high = trailing(values, 200, lambda windows: tuple(np.percentile(windows, [1, 99], axis=-1)), least=30)
    fired: Rows = (values < low) | (values > high)
    return fired
