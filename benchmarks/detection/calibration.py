"""Does the knob mean what it says? Alerts per 10,000 rows where nothing happened, against what was asked for.

Real curves: whole ones; rows in the window of any labelled event are not counted and alerts there neither, but the
detector sees them, for a log with holes would be another log. Formula: loss, gradient norm and learning rate of healthy
runs of 20,000 steps, whose noise differs in tail, memory and rounding. Incidents are counted one by one, not as
episodes, over all signals together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .curves import Curve, Floats, Verdict
from .noises import Noise, autoregressive, gaussian, skewed, student
from .ours import OurDetector
from .parallel import spread
from .quiet import quiet_run
from .scoring import covered

# Asked per 10,000 steps -> steps of each kind of noise, so that small rates are more than none or one.
STEPS = {0.1: 400_000, 0.3: 200_000, 1.0: 100_000, 3.0: 60_000, 10.0: 40_000}

_RUN_STEPS = 20_000
_AVERAGED = 10


@dataclass(frozen=True, slots=True)
class Rate:
    """Alerts of one kind of curve at one setting of the knob."""

    noise: str
    asked: float
    alerts: int
    rows: int

    @property
    def per_10k(self) -> float:
        return 1e4 * self.alerts / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for the rate if alerts come as a Poisson process; on real curves they need not."""
        low, high = poisson_interval(self.alerts)
        return 1e4 * low / self.rows, 1e4 * high / self.rows


def _as_logged(values: Floats) -> Floats:
    return values


def _running_mean(values: Floats) -> Floats:
    """Mean of the last ten, as trainers print that smooth what they log."""
    sums = np.cumsum(np.concatenate((np.full(_AVERAGED, values[0]), values)))
    return np.asarray((sums[_AVERAGED:] - sums[:-_AVERAGED]) / _AVERAGED)


def _two_decimals(values: Floats) -> Floats:
    return np.round(values, 2)


NULLS: dict[str, tuple[Noise, Callable[[Floats], Floats]]] = {
    "Gaussian": (gaussian, _as_logged),
    "Student t, 3": (student(3), _as_logged),
    "AR(1) .4": (autoregressive(0.4), _as_logged),
    "AR(1) .8": (autoregressive(0.8), _as_logged),
    "AR(2) .5 .3": (autoregressive(0.5, 0.3), _as_logged),
    "skewed": (skewed, _as_logged),
    "running mean of ten": (gaussian, _running_mean),
    "two decimals": (gaussian, _two_decimals),
}


def null_curve(noise: str, seed: int, rows: int) -> Curve:
    drawn, logged = NULLS[noise]
    curve = quiet_run(np.random.default_rng((seed, *noise.encode())), rows, noise=drawn).curve(noise, noise)
    others = {**curve.others, "grad_norm": logged(curve.others["grad_norm"])}
    return replace(curve, loss=logged(curve.loss), others=others)


def calibration(
    corpus: Sequence[Curve],
    *,
    config: Mapping[str, Any] | None = None,
    share: float = 1.0,
    jobs: int = 1,
) -> list[Rate]:
    """Measured rates of our detector, real curves first.

    Args:
        corpus: whole curves, not cut; none: only formulas.
        config: further settings of the detector.
        share: of the steps in ``STEPS``, for a quick look.
    """
    detector = OurDetector(config)
    tasks: list[_Task] = [_Task(detector.with_limit(-asked), asked, curve) for asked in STEPS for curve in corpus]
    for noise in NULLS:
        for asked, steps in STEPS.items():
            runs = max(1, round(share * steps / _RUN_STEPS))
            tasks += [_Task(detector.with_limit(-asked), asked, noise, seed) for seed in range(runs)]
    totals: dict[tuple[str, float], tuple[int, int]] = {}
    for task, (alerts, rows) in zip(tasks, spread(_count, tasks, jobs), strict=True):
        key = ("real curves" if isinstance(task.curve, Curve) else task.curve, task.asked)
        before = totals.get(key, (0, 0))
        totals[key] = before[0] + alerts, before[1] + rows
    return [Rate(noise, asked, alerts, rows) for (noise, asked), (alerts, rows) in totals.items()]


def poisson_interval(count: int, coverage: float = 0.95) -> tuple[float, float]:
    """Exact central interval for the mean of a Poisson variable seen once (Garwood 1936)."""
    tail = (1 - coverage) / 2
    low = 0.0 if count == 0 else _root(lambda mean: 1 - _poisson_cdf(count - 1, mean) - tail, count)
    return low, _root(lambda mean: tail - _poisson_cdf(count, mean), count)


@dataclass(frozen=True, slots=True)
class _Task:
    detector: OurDetector
    asked: float
    curve: Curve | str  # a name: made in the process that needs it
    seed: int = 0


def _count(task: _Task) -> tuple[int, int]:
    """Alerts outside all windows, and the rows there."""
    curve = task.curve if isinstance(task.curve, Curve) else null_curve(task.curve, task.seed, _RUN_STEPS)
    excused = covered(curve, Verdict)
    findings = task.detector.detect(curve)
    return sum(f.is_alert and not excused[f.row] for f in findings), int(np.sum(~excused))


def _poisson_cdf(count: int, mean: float) -> float:
    return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _root(rising: Callable[[float], float], count: int) -> float:
    """Where a rising function of the mean crosses zero, by bisection."""
    low, high = 1e-9, 2.0 * count + 20.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high
