"""A run without a defect, and the probes that somebody would give it: what defects are planted into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pretrain_monitor.probes.base import Probe

from .documents import DomainPlan, HeldOut, SuitePlan, Tasks
from .runs import Course, write_run
from .shapes import Schedule, gradient_norm, learning_rate, loss_level, loss_noise

# Equal parts of the training mix: the mean of their floors is that of the run.
DOMAINS = {
    "code": DomainPlan(1.2, pace=1.1, compressor=1.75),
    "encyclopedia": DomainPlan(2.0, pace=1.05, compressor=2.25),
    "books": DomainPlan(2.2, pace=0.95, compressor=2.45),
    "forum": DomainPlan(2.2, pace=1.0, compressor=2.5),
}
SUITES = {"science": SuitePlan(1.3), "commonsense": SuitePlan(1.9), "law": SuitePlan(1.1)}


class Run(Protocol):
    """Something that leaves a run directory behind."""

    def write(self, folder: Path) -> None: ...


@dataclass
class Generated:
    """A run made by formula."""

    course: Course
    probes: tuple[Probe, ...] = ()
    probe_every: int = 250

    def write(self, folder: Path) -> None:
        write_run(folder, self.course, self.probes, probe_every=self.probe_every)


def ordinary(
    seed: int,
    steps: int = 6000,
    *,
    schedule: Schedule = "cosine",
    warm_up: int | None = None,
    peak: float = 6e-4,
    last: float = 0.1,
    sd: float = 0.011,
    floor: float = 1.9,
) -> Course:
    """A healthy course.

    Args:
        warm_up: steps; a twentieth of the run if None, 500 at most.
        sd: of the noise of the log of the loss at the end.
        floor: of the loss, in nats per token.
    """
    rng = np.random.default_rng(seed)
    warm = min(max(steps // 20, 10), 500) if warm_up is None else warm_up
    rate = learning_rate(schedule, steps, warm, peak, last=last)
    level = loss_level(rate, floor=floor)
    return Course(
        level=level,
        noise=loss_noise(rng, level, sd),
        norm=gradient_norm(rng, steps, warm),
        rate=rate,
        added=np.zeros(steps),
        lasting=np.zeros(steps),
        floor=floor,
    )


def with_probes(
    course: Course,
    seed: int,
    *,
    domains: dict[str, DomainPlan] | None = None,
    suites: dict[str, SuitePlan] | None = None,
    gap: float = 0.01,
    more: tuple[Probe, ...] = (),
    every: int | None = None,
) -> Generated:
    """The course with held-out text and tasks.

    Args:
        domains: in the place of ``DOMAINS``.
        suites: in the place of ``SUITES``.
        gap: of held-out text over training text, as a share.
        every: steps between two rounds; a twenty-fourth of the run if None.
    """
    held_out = HeldOut(course, domains or DOMAINS, seed, gap=gap)
    tasks = Tasks(course, suites or SUITES, seed)
    return Generated(course, (held_out, tasks, *more), every or max(course.steps // 24, 10))
