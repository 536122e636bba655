"""What the charts of one signal know by now, for whoever explains or follows an incident."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .reading import Reading
from .residual import (
    AUTO_DEN,
    AUTO_NUM,
    FLOOR,
    LAST,
    LEVEL,
    MAX_AUTO,
    PREDICTED,
    SD,
    SEEN,
    SLOPE,
    VARIANCE,
    WHITE,
    Floats,
    local_spread,
)
from .scales import from_scale, to_scale
from .states import CUSUM_ROWS, LEVEL_ROWS, SCALE_ROWS, State

_NOISE_ROWS = (VARIANCE, AUTO_NUM, AUTO_DEN, SLOPE)


class ChartedSignal(NamedTuple):
    """A signal that has a trend, at the newest sample. Its state changes with the next one: not to be kept.

    Args:
        value: the newest value in the signal's own unit; NaN where it was not part of the newest sample.
    """

    state: State
    is_log: bool
    value: float

    def band(self, width_sd: float) -> tuple[float, float, float] | None:
        """Expected value of the newest sample and the band around it, in the signal's own unit."""
        center, reach = float(self.state[PREDICTED]), width_sd * float(self.state[SD])
        if math.isnan(center):
            return None
        lower, upper = from_scale(center - reach, is_log=self.is_log), from_scale(center + reach, is_log=self.is_log)
        return from_scale(center, is_log=self.is_log), lower, upper

    def reading(self, thresholds: tuple[float, float, float], *, is_judged: bool) -> Reading | None:
        """The charts next to what they have to exceed: ``thresholds`` of outlier, level and scale."""
        band = self.band(3.0)
        if band is None or self.value != self.value:
            return None
        outlier, level, scale = thresholds
        return Reading(
            value=self.value,
            expected=band[0],
            lower=band[1],
            upper=band[2],
            residual=float(self.state[WHITE]),
            outlier_threshold=outlier,
            level=float(max(self.state[LEVEL_ROWS])),
            level_threshold=level,
            scale=float(max(self.state[SCALE_ROWS])),
            scale_threshold=scale,
            is_judged=is_judged,
        )

    @property
    def seen(self) -> float:
        return float(self.state[SEEN])

    @property
    def autocorrelation(self) -> float:
        """Of the noise from one sample to the next, as far as the whitening knows it."""
        return min(max(float(self.state[AUTO_NUM] / self.state[AUTO_DEN]), 0.0), MAX_AUTO)

    @property
    def long_run_noise(self) -> float:
        """What a mean of many samples spreads by, times the root of their number."""
        phi = self.autocorrelation
        return float(float(self.state[VARIANCE]) ** 0.5 * ((1 + phi) / (1 - phi)) ** 0.5)

    @property
    def noise_state(self) -> list[float]:
        """What is known of noise and slope, for ``put_back``."""
        return [float(self.state[row]) for row in _NOISE_ROWS]

    def put_back(self, noise: list[float], values: Floats, recent: Floats) -> None:
        """Go on from where the signal is now, with the noise it had before an event.

        Some tens of samples far off trend teach so large a noise that the charts would be deaf for hundreds more.

        Args:
            noise: a former ``noise_state``.
            values: newest values that say where the signal is now.
            recent: newest values that say how much noisier it has become meanwhile: it is not held to the noise before.
        """
        state = self.state
        learned = float(state[VARIANCE])
        now = local_spread(to_scale(recent, is_log=self.is_log)) ** 2
        for row, known in zip(_NOISE_ROWS, noise, strict=True):
            state[row] = known
        state[VARIANCE] = max(noise[0], min(now, learned), float(state[FLOOR]))
        state[LEVEL] = float(np.median(to_scale(values, is_log=self.is_log)))
        state[LAST] = 0.0
        state[CUSUM_ROWS] = [0.0] * (CUSUM_ROWS.stop - CUSUM_ROWS.start)
