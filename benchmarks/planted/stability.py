"""Runs whose loss says that something went wrong."""

from __future__ import annotations

import numpy as np

from .cases import Case
from .ordinary import Generated, ordinary, with_probes
from .shapes import Floats, bump, ramp
from .trained import Training


def diverged(seed: int) -> Generated:
    course = ordinary(seed)
    course.lasting = ramp(course.steps, 4200, 4330, 3.6)
    course.noise *= 1 + ramp(course.steps, 4200, 4330, 1.5)
    course.norm *= np.exp(ramp(course.steps, 4190, 4260, 1.8))
    return with_probes(course, seed)


def spike_without_recovery(seed: int) -> Generated:
    course = ordinary(seed)
    course.lasting = bump(course.steps, 3500, 2.4, rise=3, decay=70) + ramp(course.steps, 3500, 3500, 0.4)
    course.norm *= np.exp(bump(course.steps, 3498, 2.5, rise=2, decay=30))
    return with_probes(course, seed)


def nan_steps(seed: int) -> Generated:
    course = ordinary(seed)
    rng = np.random.default_rng((seed, 1))
    at = rng.choice(np.arange(800, 5800), 14, replace=False)
    course.added[at] = np.nan
    course.norm[at] = np.where(rng.random(14) < 0.5, np.nan, np.inf)
    return with_probes(course, seed)


def nan_to_the_end(seed: int) -> Training:
    return Training(seed, steps=260, unlabelled_at=220)


def many_spikes(seed: int) -> Generated:
    course = ordinary(seed)
    rng = np.random.default_rng((seed, 1))
    spikes = norm = np.zeros(course.steps)
    for first in rng.choice(np.arange(1200, 5900), 40, replace=False):
        height, decay = float(rng.lognormal(-0.4, 0.5)), float(rng.uniform(2, 7))
        spikes = spikes + bump(course.steps, int(first), height, decay=decay)
        norm = norm + bump(course.steps, int(first), 1.5, decay=2)
    course.added, course.norm = spikes, course.norm * np.exp(norm)
    return with_probes(course, seed)


def slow_recoveries(seed: int) -> Generated:
    course = ordinary(seed, 8000)
    for first in (2000, 3600, 5100, 6500):
        course.lasting = course.lasting + bump(course.steps, first, 0.9, rise=6, decay=190)
        course.norm *= np.exp(bump(course.steps, first, 1.2, rise=3, decay=40))
    return with_probes(course, seed)


def costly_spike(seed: int) -> Generated:
    course = ordinary(seed)
    course.lasting = bump(course.steps, 2600, 4.6, rise=12, decay=260)
    course.norm *= np.exp(bump(course.steps, 2596, 2.2, rise=4, decay=50))
    return with_probes(course, seed)


def damage_that_stays(seed: int) -> Generated:
    course = ordinary(seed)
    course.lasting = bump(course.steps, 3000, 1.3, rise=2, decay=25) + ramp(course.steps, 3000, 3000, 0.12)
    course.norm *= np.exp(bump(course.steps, 2999, 2.0, rise=2, decay=10))
    return with_probes(course, seed)


def noise_grows(seed: int) -> Generated:
    course = ordinary(seed)
    course.noise *= np.exp(ramp(course.steps, 3800, course.steps, np.log(3.5)))
    course.norm *= np.exp(ramp(course.steps, 3800, course.steps, np.log(1.5)))
    return with_probes(course, seed)


def stalled(seed: int) -> Generated:
    course = ordinary(seed, 8000, schedule="linear")
    course.level = _held(course.level, 2600)
    return with_probes(course, seed)


def _held(level: Floats, step: int) -> Floats:
    """The level as it is if nothing is learned any more from a step on, in a bend of some hundred steps."""
    slowed = np.diff(level, prepend=level[:1])
    t = np.arange(1, len(level) + 1)
    slowed[t > step] *= np.exp(-(t[t > step] - step) / 150)
    return np.asarray(level[0] + np.cumsum(slowed))


STABILITY = (
    Case(diverged, "loss rises by 3.6 nats at 70 % of the run and stays there", ("stability/incidents",)),
    Case(
        spike_without_recovery,
        "spike of 2.8 nats that comes down to 0.4 above where it was",
        ("stability/incidents", "stability/lingering_damage"),
    ),
    Case(nan_steps, "14 steps with NaN losses, their norms NaN or infinite", ("stability/nonfinite",)),
    Case(nan_to_the_end, "real training: a batch without labels makes the weights NaN", ("stability/nonfinite",)),
    Case(many_spikes, "40 spikes of some 0.7 nats that last 2 to 7 steps", ("stability/spike_score",)),
    Case(slow_recoveries, "4 rises of 0.9 nats that take 600 steps each of 8,000", ("stability/time_in_incidents",)),
    Case(costly_spike, "a spike of 4.6 nats that takes 1,200 steps of 6,000", ("stability/excess_loss",)),
    Case(
        damage_that_stays,
        "spike of 1.4 nats, over in 80 steps; from then on 4 % above trend",
        ("stability/lingering_damage",),
    ),
    Case(noise_grows, "noise of the loss grows to 3.5 times in the last third", ("stability/noise_trend",)),
    Case(
        stalled,
        "nothing is learned any more from a third of the run on, at four fifths of the peak rate",
        ("stability/still_learning",),
    ),
)
