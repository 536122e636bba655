"""How a run of the zoo is trained: a recipe, and what of it changes at which step. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

VOCABULARY = 256  # bytes


@dataclass(frozen=True, slots=True)
class Shape:
    """The model.

    Args:
        context: longest sequence, in bytes.
        norm: before each branch (as usual today), after each sum (as in the first transformers), or nowhere.
        half: values and gradients are stored in 16 bits.
        watch_attention: log the largest attention logit.
    """

    layers: int = 2
    width: int = 64
    heads: int = 4
    context: int = 64
    norm: Literal["pre", "post", "none"] = "pre"
    qk_norm: bool = False
    tied_head: bool = True
    half: bool = False
    watch_attention: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """All that may change from one step to the next; steps count from 1.

    Args:
        rate: peak learning rate.
        warmup: steps of linear warm-up; 0 for none.
        schedule_start: the schedule's step 0; later than 0 where a resumed run has lost its place.
        stable_share: of the steps, before ``wsd`` starts to decay.
        last_rate: share of the peak that is left at the last step.
        rate_factor: what multiplies the schedule by mistake.
        attention_rate_factor: what multiplies the rate of the weights that make queries, keys and values.
        forget_variance: Adam's second moments are zero before this step, its step count is not.
        optimizer: AdamW, or gradient descent with momentum ``beta1``.
        domains: share of each domain of text; the shares add up to 1.
        window_count: distinct sequences to train on, epoch after epoch; None to draw from the whole text.
        reshuffle: another order in every epoch.
        corruption: what a damaged shard holds instead of text.
        corrupted_share: of the rows of a batch, from the last one backwards.
        repeats_step: the step whose batch is used again; None for a new one.
        label_shift: positions by which the targets are off.
        rank_weights: of the gradients of equal parts of a batch, each the work of one data-parallel rank.
        microbatches: forward and backward passes whose gradients are added up to one step.
        loss_scale: what the loss is multiplied with before it is differentiated, None without half precision.
        scaler: ``dynamic`` skips a step whose gradient is not finite and halves the scale; ``static`` does not look.
    """

    rate: float = 3e-3
    warmup: int = 50
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    schedule_start: int = 0
    stable_share: float = 0.75
    last_rate: float = 0.1
    rate_factor: float = 1.0
    attention_rate_factor: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float | None = 1.0
    forget_variance: bool = False
    optimizer: Literal["adamw", "sgd"] = "adamw"
    batch_size: int = 16
    sequence_length: int = 64
    domains: tuple[tuple[str, float], ...] = (("code", 1.0),)
    window_count: int | None = None
    reshuffle: bool = True
    corruption: Literal["none", "random_bytes", "shuffled"] = "none"
    corrupted_share: float = 1.0
    repeats_step: int | None = None
    label_shift: int = 0
    rank_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    microbatches: int = 1
    loss_scale: float | None = None
    scaler: Literal["static", "dynamic"] = "static"


@dataclass(frozen=True, slots=True)
class Change:
    """Settings that hold from step ``first`` to step ``last``, both inclusive; to the end if None."""

    first: int
    last: int | None
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run.

    Args:
        seed: of the weights and the data; what batch a step gets depends on it and the step alone.
    """

    seed: int
    steps: int = 1000
    shape: Shape = field(default_factory=Shape)
    settings: Settings = field(default_factory=Settings)
    changes: tuple[Change, ...] = ()

    def changed(self, first: int, last: int | None = None, **settings: Any) -> Recipe:
        """The same recipe with other settings from step ``first`` on, or up to ``last``."""
        return replace(self, changes=(*self.changes, Change(first, last, settings)))

    def at(self, step: int) -> Settings:
        settings = self.settings
        for change in self.changes:
            if change.first <= step and (change.last is None or step <= change.last):
                settings = replace(settings, **change.settings)
        return settings

    def learning_rate(self, step: int) -> float:
        """The rate of one step: warm-up, schedule and factor."""
        settings = self.at(step)
        at = step - settings.schedule_start
        warm_up = min(1.0, at / settings.warmup) if settings.warmup else 1.0
        return settings.rate * settings.rate_factor * warm_up * _decay(settings, at / self.steps)


def _decay(settings: Settings, progress: float) -> float:
    """Share of the peak rate that is left after a share of the run."""
    progress = min(1.0, progress)
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "cosine":
        return settings.last_rate + (1 - settings.last_rate) * 0.5 * (1 + math.cos(math.pi * progress))
    decayed = max(0.0, (progress - settings.stable_share) / (1 - settings.stable_share))
    return 1 - (1 - settings.last_rate) * decayed
