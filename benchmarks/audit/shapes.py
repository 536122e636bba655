"""A pre-training by formula: loss, gradient norm and learning rate, as real runs have them.

The loss follows a power law with a floor; its noise is correlated, has heavy tails and shrinks with the rate; where
the rate decays it falls a little faster. Gradients are large at the beginning, fall, and grow again slowly as the rate
goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Training:
    """Signals of one run, one entry a step; a defect changes them in place.

    Args:
        max_grad_norm: that gradients are clipped to.
        tokens_per_step: of all ranks.
        sessions: steps after which the run was resumed from that very step.
        end: why it ended; None: killed.
    """

    loss: Floats
    grad_norm: Floats
    learning_rate: Floats
    max_grad_norm: float | None = 1.0
    tokens_per_step: int = 500_000
    sessions: tuple[int, ...] = ()
    end: str | None = "finished"
    logged: tuple[str, ...] = ("loss", "grad_norm", "learning_rate")
    every: int = 1
    noise: float = field(default=0.012)

    @property
    def steps(self) -> int:
        return len(self.loss)


def training(
    steps: int,
    *,
    seed: int,
    schedule: str = "cosine",
    noise: float = 0.012,
    floor: float = 1.9,
    exponent: float = 0.3,
    warm_up: int | None = None,
    peak: float = 3e-4,
) -> Training:
    """
    Args:
        schedule: cosine (to a tenth), linear (to zero), wsd (constant, the last fifth down to zero).
        noise: relative standard deviation of the loss at the peak rate.
        warm_up: steps; None: a hundredth of the run, thirty at least.
    """
    rng = np.random.default_rng(seed)
    at = np.arange(1, steps + 1, dtype=np.float64)
    warm_up = max(30, steps // 100) if warm_up is None else warm_up
    rate = _schedule(schedule, at, steps, warm_up) * peak
    level = floor + (10.5 - floor) * (1 + at / 12.0) ** -exponent
    # What a cool-down gives: a share of the level that the rate still holds up.
    level = level * (1 - 0.025 * (1 - rate / rate.max()) * (at > warm_up))
    shaken = 0.6 + 0.4 * rate / rate.max()
    loss = level * np.exp(noise * shaken * correlated(rng, steps, 0.25))
    norm = (0.28 + 4.0 * (1 + at / 15.0) ** -0.9) * (1 + 0.5 * (1 - rate / rate.max()) * (at > warm_up))
    norm = norm * np.exp(0.12 * correlated(rng, steps, 0.3))
    return Training(loss, norm, rate, noise=noise)


def correlated(rng: np.random.Generator, count: int, phi: float) -> Floats:
    """AR(1) noise of unit variance with the tails of Student's t with six degrees of freedom."""
    shocks = rng.standard_t(6, count) / np.sqrt(6 / 4) * np.sqrt(1 - phi**2)
    out = np.empty(count)
    value = 0.0
    for place, shock in enumerate(shocks.tolist()):
        value = phi * value + shock
        out[place] = value
    return out


def _schedule(name: str, at: Floats, steps: int, warm_up: int) -> Floats:
    rise = np.minimum(at / max(warm_up, 1), 1.0)
    if name == "cosine":
        return rise * (0.1 + 0.45 * (1 + np.cos(np.pi * np.minimum(at / steps, 1.0))))
    if name == "linear":
        return rise * (1 - (at - 1) / steps)
    if name == "wsd":
        return rise * np.clip((steps - at + 1) / (0.2 * steps), 0.0, 1.0)
    raise ValueError(f"unknown schedule {name!r}; choose one of cosine, linear, wsd")
