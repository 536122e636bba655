"""Healthy runs: of several lengths, schedules and noises, some with what healthy runs have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .planted import Planted
from .probed import Probed
from .shapes import Training, training
from .written import write_run


def _one_bad_batch(run: Training) -> None:
    run.loss[run.steps * 2 // 3] *= 1.5


def _healed_spike(run: Training) -> None:
    at = run.steps // 2
    run.loss[at : at + 20] *= 1 + 0.4 * np.exp(-np.arange(20) / 5)
    run.grad_norm[at : at + 20] *= 1 + 4 * np.exp(-np.arange(20) / 5)


def _resumed(run: Training) -> None:
    run.sessions = (run.steps // 3, run.steps * 2 // 3)


def _as_it_is(run: Training) -> None:
    pass


_RUNS: tuple[tuple[str, int, str, float, Callable[[Training], None]], ...] = (
    ("short, cosine", 1_000, "cosine", 0.012, _as_it_is),
    ("noisy, cosine", 4_000, "cosine", 0.03, _as_it_is),
    ("quiet, linear", 4_000, "linear", 0.004, _as_it_is),
    ("constant and cooled down", 8_000, "wsd", 0.012, _as_it_is),
    ("with a bad batch", 6_000, "cosine", 0.012, _one_bad_batch),
    ("with a healed spike", 6_000, "linear", 0.012, _healed_spike),
    ("resumed twice", 6_000, "cosine", 0.012, _resumed),
    ("long, quiet", 60_000, "wsd", 0.006, _as_it_is),
    ("very long", 200_000, "cosine", 0.012, _as_it_is),
)


def healthy() -> Iterator[Planted]:
    """Each by formula; one real training comes with the others that are trained."""
    for seed, (name, steps, schedule, noise, change) in enumerate(_RUNS, 200):

        def write(path: Path, seed=seed, steps=steps, schedule=schedule, noise=noise, change=change) -> None:  # type: ignore[no-untyped-def]
            run = training(steps, seed=seed, schedule=schedule, noise=noise)
            run.max_grad_norm = 1.0
            change(run)
            write_run(path, run, Probed(), seed)

        yield Planted(f"healthy: {name}", (), write)
