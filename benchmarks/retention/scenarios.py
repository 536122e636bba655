"""Which trainings are run: those in which nothing is lost, and those that stop showing a domain to the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

STEPS = 2000
EVERY = 50  # steps between two rounds of the probe


@dataclass(frozen=True, slots=True)
class Scenario:
    """One training.

    Args:
        schedule: ``constant``; ``cosine`` to a tenth; ``decay``, constant and to a tenth over the last fifth; ``cut``,
            constant and a tenth from ``switch`` on.
        rows: sequences in a batch: a smaller one makes a noisier run.
        share: of the batch, by domain, before ``switch``; domains that are not named share the rest equally.
        lost: domain whose share falls; None in a healthy run.
        left: what is left of it, as a share of the batch.
        switch: step from which it does.
        ramp: steps over which it does.
    """

    name: str
    seed: int
    schedule: str
    rows: int = 16
    lost: str | None = None
    left: float = 0.0
    switch: int = 0
    ramp: int = 0
    share: dict[str, float] = field(default_factory=dict)

    def shares(self, domains: Sequence[str], step: int) -> list[float]:
        """Of the batch of a step, by domain."""
        rest = (1 - sum(self.share.values())) / max(len(domains) - len(self.share), 1)
        shares = {domain: self.share.get(domain, rest) for domain in domains}
        if self.lost is not None and step >= self.switch:
            before = shares[self.lost]
            done = min((step - self.switch) / self.ramp, 1.0) if self.ramp else 1.0
            now = before + (self.left - before) * done
            grown = (1 - now) / (1 - before)
            shares = {domain: now if domain == self.lost else share * grown for domain, share in shares.items()}
        return list(shares.values())

    def rate(self, step: int, steps: int, peak: float) -> float:
        """Learning rate of a step; ``switch`` is in steps of a run of ``STEPS``."""
        warm = min((step + 1) / (0.05 * steps), 1.0)
        done = step / steps
        if self.schedule == "cosine":
            return peak * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))
        if self.schedule == "decay":
            return peak * warm * (1.0 if done < 0.8 else 1 - 4.5 * (done - 0.8))
        if self.schedule == "cut":
            return peak * warm * (1.0 if step < self.switch else 0.1)
        return peak * warm


def planned(domains: Sequence[str], first_seed: int) -> list[Scenario]:
    """Healthy and forgetting trainings for these domains; other seeds draw other batches and other weights."""
    runs: list[Scenario] = []

    def add(name: str, schedule: str, **more: object) -> None:
        seed = first_seed + len(runs)
        runs.append(Scenario(f"{len(runs):02d}-{name}-{schedule}", seed, schedule, **more))  # type: ignore[arg-type]

    for schedule, rows in product(("constant", "cosine", "decay"), (4, 16)):
        add(f"healthy-{rows}", schedule, rows=rows)
        add(f"healthy-{rows}-skewed", schedule, rows=rows, share={domains[0]: 0.7})
    # A healthy cut of the learning rate, of all there is the largest change of how a run wobbles.
    for rows in (4, 16):
        add(f"healthy-{rows}", "cut", rows=rows, switch=1200)
    lost = 0
    for left, ramp in ((0.0, 0), (0.01, 0), (0.0, 400)):
        for schedule in ("constant", "cosine", "decay", "cut"):
            for rows in (4, 16):
                domain = domains[lost % len(domains)]
                switch = 800 + 97 * (lost % 7)
                kind = f"lost-{domain}-{left:g}" + (f"-over-{ramp}" if ramp else "") + f"-{rows}"
                add(kind, schedule, rows=rows, lost=domain, left=left, switch=switch, ramp=ramp)
                lost += 1
    return runs
