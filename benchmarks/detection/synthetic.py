"""Curves with known truth where real ones have none: early trouble, second events, non-finite values, schedules.

Every scenario is a generator of curves and a source of the bootstrap. Healthy ones have no event: whatever is raised on
them is false.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from . import shapes
from .curves import Curve, Floats, TrueEvent, Verdict
from .plan import Signal, echo, log_uniform, plan
from .quiet import QuietRun, quiet_run, with_smaller_noise
from .scoring import covered

Scenario = Callable[[np.random.Generator, int], Curve]

_SECOND_AFTER = 20  # rows from one event to the next, in the scenarios about blind time
_GRAD_SPIKES = 5
_LEAD = 0.7  # share of the events that the gradient norm shows too, some rows earlier
_VISIBLE_SD = 4.0


def synthetic(*, seed: int = 0) -> list[Curve]:
    """All scenarios, some runs of each, about 300,000 rows."""
    curves = []
    for scenario, runs in SCENARIOS.items():
        for k in range(runs):
            rng = np.random.default_rng((seed, k, *scenario.__name__.encode()))
            curves.append(replace(scenario(rng, k), name=f"{scenario.__name__}_{k}", source=scenario.__name__))
    return curves


def mixed(rng: np.random.Generator, k: int) -> Curve:
    """Events of every class one after the other, gradient spikes between them."""
    run = quiet_run(rng, 6000)
    log_level = np.log(run.level)
    signal = Signal(log_level + run.sd * run.noise, log_level, run.sd, is_logarithmic=True)
    norm = Signal(run.norm_noise, np.zeros(run.rows), np.ones(run.rows), is_logarithmic=True)
    events, added, norm_added = [], np.zeros(run.rows), np.zeros(run.rows)
    for event, addition in plan(signal, rng):
        events.append(event)
        added += addition / run.sd
        if event.verdict is Verdict.MUST and rng.random() < _LEAD:
            norm_added += echo(event, norm, rng)
    clear = np.flatnonzero(~covered(_of(run, *events), Verdict))
    for first in sorted(rng.choice(clear[clear > 300], size=_GRAD_SPIKES).tolist()):
        shape = shapes.spike(np.log(rng.uniform(5, 60)) / run.norm_sd, 1, rng.uniform(0.3, 1))
        norm_added += shapes.laid(shape, first, run.rows)
        events.append(TrueEvent(first, first + 2, "grad_spike", Verdict.OPTIONAL, "grad_spike", shape.size))
    return _of(run, *events, added=added, norm_added=norm_added)


def healthy(rng: np.random.Generator, k: int) -> Curve:
    """In turn: nothing more, epochs as a sawtooth, a batch size that grows fourfold."""
    run = quiet_run(rng, 6000)
    if k % 3 == 1:
        epoch = int(rng.integers(400, 1200))
        teeth = -rng.uniform(1, 3) * (np.arange(run.rows) % epoch) / epoch
        return _of(run, added=teeth - teeth.min())
    return _of(with_smaller_noise(run, int(rng.integers(1500, 4500)), 0.5) if k % 3 == 2 else run)


def early_healthy(rng: np.random.Generator, k: int) -> Curve:
    """In turn: a steep descent as it is, and a hump of 2-8 % while the learning rate warms up."""
    run = quiet_run(rng, 600)
    if k % 2 == 0:
        return _of(run)
    middle, width = rng.uniform(40, 100), rng.uniform(15, 30)
    hump = np.log(rng.uniform(1.02, 1.08)) * np.exp(-0.5 * ((np.arange(run.rows) - middle) / width) ** 2)
    return _of(run, added=hump / run.sd)


def early_trouble(rng: np.random.Generator, k: int) -> Curve:
    """In turn within the first 300 steps: NaN, a blow-up to 1.3-3 times the loss that comes back, a divergence."""
    run = quiet_run(rng, 700)
    if k % 3 == 0:
        return _nan_at(run, int(rng.integers(4, 250)), "early_nan")
    height = np.log(rng.uniform(1.3, 3)) / run.sd[0]
    if k % 3 == 1:
        first = int(rng.integers(5, 150))
        shape = shapes.spike(height, int(rng.integers(2, 30)), rng.uniform(10, 40))
        kind, last = "spike", first + shape.last
    else:
        first = int(rng.integers(60, 220))
        shape = shapes.divergence(height, int(rng.integers(30, 100)), run.rows - first, 1.0)
        kind, last = "divergence", run.rows - 1
    added = shapes.laid(shape, first, run.rows)
    event = TrueEvent(_visible(run, added, first), min(last, run.rows - 1), kind, group=f"early_{kind}", size=height)
    return _of(run, event, added=added, norm_added=0.3 * added if rng.random() < _LEAD else 0.0)


def after_nan(rng: np.random.Generator, k: int) -> Curve:
    """One NaN of loss and gradient norm, a spike 20 or 40 rows later."""
    return _second(rng, "after_nan", None, _SECOND_AFTER * (1 + k % 2))


def after_spike(rng: np.random.Generator, k: int) -> Curve:
    first = shapes.spike(rng.uniform(15, 40), int(rng.integers(1, 3)), rng.uniform(2, 4))
    return _second(rng, "after_spike", first, _SECOND_AFTER)


def after_shift(rng: np.random.Generator, k: int) -> Curve:
    first = shapes.level_shift(rng.uniform(3, 5), 400, comes_back=False)
    return _second(rng, "after_shift", first, _SECOND_AFTER)


def restarted_schedule(rng: np.random.Generator, k: int) -> Curve:
    """A learning rate that begins anew in the middle of the run, and a loss that rises with it."""
    run = quiet_run(rng, 4000, schedule="cosine")
    first = int(rng.integers(2000, 3000))
    rate = run.learning_rate.copy()
    rate[first:] = rate[int(np.argmax(rate)) :][: run.rows - first]
    rise, shape = int(rng.integers(5, 40)), rng.uniform(4, 10)
    added = shapes.laid(shapes.spike(shape, rise, 600.0), first, run.rows)
    event = TrueEvent(first, min(first + 600, run.rows - 1), "lr_anomaly", group="lr_restart", size=shape)
    return _of(replace(run, learning_rate=rate), event, added=added)


def coarse(rng: np.random.Generator, k: int) -> Curve:
    """Every tenth step logged: what lasts 10-40 steps is one to four rows, in loss and gradient norm."""
    every = 10
    run = quiet_run(rng, 20_000)
    added, events = np.zeros(run.rows), []
    for middle in (6000, 10_000, 14_000, 18_000):
        first = (middle + int(rng.integers(-1000, 1000))) // every * every + every - 1
        shape = shapes.spike(rng.uniform(12, 40), 1, log_uniform(rng, 5, 20))
        added += shapes.laid(shape, first, run.rows)
        events.append(TrueEvent(first // every, (first + shape.last) // every, "spike", group="coarse_spike"))
    return replace(run.curve("", "", added=added, norm_added=0.5 * added, every=every), events=tuple(events))


SCENARIOS: dict[Scenario, int] = {
    mixed: 16,
    healthy: 9,
    early_healthy: 20,
    early_trouble: 30,
    after_nan: 12,
    after_spike: 12,
    after_shift: 12,
    restarted_schedule: 6,
    coarse: 8,
}


def _second(rng: np.random.Generator, group: str, before: shapes.Shape | None, gap: int) -> Curve:
    """A spike so many rows after another event, or after a NaN if there is no shape before."""
    run = quiet_run(rng, 1500)
    first = int(rng.integers(500, 900))
    second = shapes.spike(rng.uniform(15, 40), int(rng.integers(1, 4)), log_uniform(rng, 5, 20))
    begins = first + gap
    added = shapes.laid(second, begins, run.rows)
    norm_added = shapes.laid(shapes.spike(rng.uniform(8, 20), 1, 3.0), begins, run.rows)
    event = TrueEvent(begins, begins + second.last, "spike", group=group, size=second.size)
    if before is None:
        return _nan_at(run, first, "nan", event, added=added, norm_added=norm_added)
    kind = "level_shift" if before.kept else "spike"
    # The first event ends where the second begins: an alert on the second is none on the first.
    earlier = TrueEvent(first, min(first + before.last, begins - 1), kind, group=f"first_{kind}", size=before.size)
    return _of(run, earlier, event, added=added + shapes.laid(before, first, run.rows), norm_added=norm_added)


def _nan_at(
    run: QuietRun,
    row: int,
    group: str,
    *events: TrueEvent,
    added: Floats | float = 0.0,
    norm_added: Floats | float = 0.0,
) -> Curve:
    curve = _of(run, TrueEvent(row, row, "nonfinite", group=group), *events, added=added, norm_added=norm_added)
    curve.loss[row] = curve.others["grad_norm"][row] = np.nan
    return curve


def _of(run: QuietRun, *events: TrueEvent, added: Floats | float = 0.0, norm_added: Floats | float = 0.0) -> Curve:
    ordered = tuple(sorted(events, key=lambda event: event.first))
    return replace(run.curve("", "", added=added, norm_added=norm_added), events=ordered)


def _visible(run: QuietRun, added: Floats, first: int) -> int:
    """The first row from which on the loss stands clearly above the lowest it has been, noise aside.

    While the loss falls steeply a rise only slows it down at first, and nobody could tell.
    """
    log_loss = np.log(run.level) + run.sd * added
    is_up = log_loss - np.minimum.accumulate(log_loss) > _VISIBLE_SD * run.sd
    return first + int(np.argmax(is_up[first:]))
