"""A healthy run made by formula: what synthetic events are added to, and what calibration is measured on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .curves import Curve, Floats, TrueEvent
from .noises import Noise, autoregressive, student

_LOG_VOCABULARY = 10.8  # nats; the loss of a model that knows nothing
_WARM_UP = (50, 200)
_PEAK_RATE = (1e-4, 1e-3)
_DECAY_SHARE = 0.2  # of a warm-up, stable, decay schedule
_DECAY_FALL = 0.15  # nats gained by the decay
_LONE_NORMS = 0.002  # share of rows with a large gradient norm that means nothing


@dataclass(frozen=True, slots=True)
class QuietRun:
    """Loss, gradient norm and learning rate of a run without an event, as trend and noise.

    Args:
        level: expected loss in nats, shape (rows,).
        sd: of the log of the loss about its level, shape (rows,).
        noise: of the loss in sd, shape (rows,); likewise ``norm_*`` for the gradient norm.
    """

    level: Floats
    sd: Floats
    noise: Floats
    norm_level: Floats
    norm_sd: float
    norm_noise: Floats
    learning_rate: Floats
    events: tuple[TrueEvent, ...] = field(default=())

    @property
    def rows(self) -> int:
        return len(self.level)

    def curve(
        self, name: str, source: str, *, added: Floats | float = 0.0, norm_added: Floats | float = 0.0, every: int = 1
    ) -> Curve:
        """The run as logged every so many steps, with something added to loss and gradient norm, in sd."""
        loss = self.level * np.exp(self.sd * (self.noise + added))
        norm = self.norm_level * np.exp(self.norm_sd * (self.norm_noise + norm_added))
        kept = slice(every - 1, None, every)
        return Curve(
            name=name,
            source=source,
            steps=np.arange(1, self.rows + 1)[kept],
            loss=loss[kept],
            others={"grad_norm": norm[kept], "learning_rate": self.learning_rate[kept]},
            events=self.events,
        )


def quiet_run(
    rng: np.random.Generator, rows: int, *, noise: Noise | None = None, schedule: str | None = None
) -> QuietRun:
    """A power law with noise whose size differs from run to run, from the first step on.

    Loss = E + A (t + t0)^-b from the log of the vocabulary size down, b in .3-.7; a tenth of the noise's variance
    wanders slowly. Without ``noise``: AR(1), memory 0-.35, shocks Student t of 4-12 degrees of freedom.

    Args:
        schedule: of the learning rate, ``cosine`` or ``wsd``; one of the two at random if None.
    """
    t = np.arange(rows)
    final, power, start = rng.uniform(1.8, 2.8), rng.uniform(0.3, 0.7), rng.uniform(10, 50)
    level = final + (_LOG_VOCABULARY - final) * (1 + t / start) ** -power
    schedule = schedule or ("cosine" if rng.random() < 0.5 else "wsd")
    learning_rate = rate_schedule(schedule, rows, int(rng.integers(*_WARM_UP)), rng.uniform(*_PEAK_RATE))
    if schedule == "wsd":
        level = level - _DECAY_FALL * np.clip((t / rows - 1 + _DECAY_SHARE) / _DECAY_SHARE, 0, 1) ** 0.5
    drawn = noise or autoregressive(rng.uniform(0, 0.35), shocks=student(rng.uniform(4, 12)))
    norm_drawn = noise or autoregressive(rng.uniform(0, 0.4), shocks=student(rng.uniform(4, 12)))
    loss_noise = drawn(rng, rows)
    if noise is None:  # a noise that was asked for comes as it is
        loss_noise = 0.9**0.5 * loss_noise + 0.1**0.5 * autoregressive(0.998)(rng, rows)
    norm_noise = norm_drawn(rng, rows)
    if noise is None:
        lone = rng.random(rows) < _LONE_NORMS
        norm_noise = norm_noise + lone * rng.uniform(5, 15, size=rows)
    return QuietRun(
        level=level,
        sd=np.full(rows, rng.uniform(0.008, 0.03)),
        noise=loss_noise,
        norm_level=np.asarray(rng.uniform(0.2, 0.6) + 3 * (t + 5.0) ** -0.6),
        norm_sd=rng.uniform(0.1, 0.2),
        norm_noise=norm_noise,
        learning_rate=learning_rate,
    )


def rate_schedule(name: str, rows: int, warm_up: int, peak: float) -> Floats:
    """Learning rate of each step, shape (rows,): linear warm-up, then a cosine to a tenth, or stable and 1 - sqrt."""
    t = np.arange(rows)
    share = np.clip((t - warm_up) / max(rows - warm_up, 1), 0, 1)
    if name == "cosine":
        rest = 0.55 + 0.45 * np.cos(np.pi * share)
    elif name == "wsd":
        rest = 1 - 0.9 * np.sqrt(np.clip((share - 1 + _DECAY_SHARE) / _DECAY_SHARE, 0, 1))
    else:
        raise ValueError(f'unknown schedule "{name}"; choose cosine or wsd')
    return np.asarray(peak * np.minimum((t + 1) / warm_up, rest))


def with_smaller_noise(run: QuietRun, first: int, factor: float) -> QuietRun:
    """From a row on the noise is ``factor`` of what it was, as after a change of the batch size."""
    sd = run.sd.copy()
    sd[first:] *= factor
    norm_noise = run.norm_noise.copy()
    norm_noise[first:] *= factor
    return replace(run, sd=sd, norm_noise=norm_noise)
