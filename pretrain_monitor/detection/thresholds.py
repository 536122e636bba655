"""False-alarm budget -> thresholds that no run's own noise can undercut.

Each threshold is the larger of a floor that holds for any clipped noise and what the tail seen in this run demands:
exceedances of a chart over a fixed level are counted and averaged with a prior, and the tail is extended to the
wanted rate, exponentially for the CUSUM charts and as a generalised Pareto tail (Pickands 1975) with fixed shape for
the outlier chart.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from .alarm import Chart

OUTLIER_LEVEL = 2.5
EXCURSION_LEVEL = 3.0
EXCURSION_ENDS = 1.0
MAX_CHART_THRESHOLD = 40.0
MIN_OUTLIER_THRESHOLD, MAX_OUTLIER_THRESHOLD = 7.0, 30.0
FORGET_AFTER = 6000

_INFO_SHARE = 0.5
_LEVEL_SHARE = 1.0
_TAIL_SHAPE = 0.2
_ONE_CLUSTER = 8  # samples
_MOST_EXCESS = 2.0
_MOST_LEVEL_EXCESS = 3.0
# Prior of each chart: weight in exceedances, mean excess, rate per sample.
_OUTLIER_PRIOR = (20.0, 0.45, 0.0095)
_LEVEL_PRIOR = (8.0, 0.9, 0.006)
_SCALE_PRIOR = (8.0, 1.0, 0.006)


class Budget(NamedTuple):
    """How often each chart of a signal may fire on noise, per sample."""

    outlier: float
    level: float
    scale: float


def budget_of(name: str, false_alarms_per_10k: float) -> Budget:
    """Share of the false-alarm budget for the charts of one signal.

    What can raise an alert alone, the level of the loss, gets most of it. Charts whose alarms are information, or need
    a second signal to become more, have a budget of their own, in proportion.
    """
    rate = false_alarms_per_10k / 1e4
    return Budget(_INFO_SHARE * rate, (_LEVEL_SHARE if name == "loss" else _INFO_SHARE) * rate, _INFO_SHARE * rate)


def chart_floor(q: float) -> float:
    """What the level chart exceeds once in 1 / q samples of any clipped noise: its rate is 0.1 exp(-h)."""
    return math.log(0.1 / q)


@dataclass(slots=True)
class Tails:
    """What one signal's charts have done so far in quiet times, and the thresholds that follow."""

    samples: float = 0.0
    outliers: float = 0.0
    outlier_excess: float = 0.0
    level_excursions: float = 0.0
    level_excess: float = 0.0
    scale_excursions: float = 0.0
    scale_excess: float = 0.0
    last_outlier: float = -100.0  # samples learned from when an exceedance was last counted

    def outlier_threshold(self, q: float) -> float:
        mean, rate = _seen(_OUTLIER_PRIOR, self.outliers, self.outlier_excess, self.samples)
        reach = math.pow(max(rate / q, 1.0), _TAIL_SHAPE) - 1
        threshold = OUTLIER_LEVEL + mean * (1 - _TAIL_SHAPE) / _TAIL_SHAPE * reach
        return min(max(threshold, MIN_OUTLIER_THRESHOLD), MAX_OUTLIER_THRESHOLD)

    def level_threshold(self, q: float) -> float:
        mean, rate = _seen(_LEVEL_PRIOR, self.level_excursions, self.level_excess, self.samples)
        limit = EXCURSION_LEVEL + mean * math.log(max(rate / q, 1.0))
        return min(max(chart_floor(q), limit), MAX_CHART_THRESHOLD)

    def scale_threshold(self, q: float) -> float:
        mean, rate = _seen(_SCALE_PRIOR, self.scale_excursions, self.scale_excess, self.samples)
        limit = EXCURSION_LEVEL + mean * math.log(max(rate / q, 1.0))
        return min(max(chart_floor(q) + 1.5, limit), MAX_CHART_THRESHOLD)

    def outlier_probability(self, u: float) -> float:
        """How often a sample of quiet noise is as far above trend as ``u``, or farther."""
        mean, rate = _seen(_OUTLIER_PRIOR, self.outliers, self.outlier_excess, self.samples)
        scale = mean * (1 - _TAIL_SHAPE)
        return rate * math.pow(1 + _TAIL_SHAPE * (u - OUTLIER_LEVEL) / scale, -1 / _TAIL_SHAPE)

    def exceeded(self, u: float, level: float, scale: float, q: Budget) -> list[tuple[Chart, float, float]]:
        """The charts over their thresholds, with score and threshold; limits that cannot matter are not computed."""
        found = []
        limit: float
        if u > MIN_OUTLIER_THRESHOLD and u > (limit := self.outlier_threshold(q.outlier)):
            found.append((Chart.OUTLIER, u, limit))
        if level > chart_floor(q.level) and level > (limit := self.level_threshold(q.level)):
            found.append((Chart.LEVEL, level, limit))
        if scale > chart_floor(q.scale) and scale > (limit := self.scale_threshold(q.scale)):
            found.append((Chart.SCALE, scale, limit))
        return found

    def learn_outlier(self, u: float, q: float) -> None:
        """Take in a whitened residual over the fixed level, unless it is an alarm.

        Exceedances close together are one, and none teaches more than so much: a quiet run that spikes now and then
        would else learn that spikes are its noise, and the chart would no longer see them.
        """
        if u < self.outlier_threshold(q) and self.samples - self.last_outlier > _ONE_CLUSTER:
            self.outliers += 1
            self.outlier_excess += min(u - OUTLIER_LEVEL, _MOST_EXCESS)
            self.last_outlier = self.samples

    def learn_level(self, peak: float, q: float) -> None:
        """Take in the largest value of an excursion of the level chart that is over."""
        self.level_excursions += 1
        self.level_excess += min(min(peak, self.level_threshold(q)) - EXCURSION_LEVEL, _MOST_LEVEL_EXCESS)

    def learn_scale(self, peak: float, q: float) -> None:
        """The same for the scale chart."""
        self.scale_excursions += 1
        self.scale_excess += min(peak, self.scale_threshold(q)) - EXCURSION_LEVEL

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def forget(self) -> None:
        """Halve all counts, so that the tail follows a run whose noise changes over tens of thousands of steps."""
        self.last_outlier -= self.samples / 2
        self.samples /= 2
        self.outliers /= 2
        self.outlier_excess /= 2
        self.level_excursions /= 2
        self.level_excess /= 2
        self.scale_excursions /= 2
        self.scale_excess /= 2


def _seen(prior: tuple[float, float, float], count: float, excess: float, samples: float) -> tuple[float, float]:
    """Mean excess over the fixed level, and how often per sample it is exceeded: what was counted, with a prior."""
    weight, mean, rate = prior
    return (weight * mean + excess) / (weight + count), (weight + count) / (weight / rate + samples)
