"""Every run of the zoo by name: healthy ones, and faulty ones with the healthy twin each is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from . import faults
from .recipes import Recipe, Settings, Shape

SEEDS = (0, 1, 2)

# Late, later and early in the run: the last of them falls among the steps in which a monitor is still learning.
_FAULT_STEPS = (420, 620, 240)


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    Args:
        cause: what makes it faulty, or what makes it look so though it is healthy.
        twin: name of the healthy run that is the same up to the fault; None for a healthy run.
        fault_step: first step whose update or loss the fault affects.
    """

    name: str
    cause: str
    recipe: Recipe
    twin: str | None = None
    fault_step: int | None = None

    @property
    def fault_last(self) -> int:
        """Last step at which the fault acts; the last of the run if nobody ends it."""
        ends = [self.recipe.steps if change.last is None else change.last for change in self.recipe.changes]
        return max(ends)


def _recipe(seed: int, *, steps: int = 1000, shape: Shape | None = None, settings: Settings | None = None) -> Recipe:
    return Recipe(seed, steps, shape or Shape(context=32), settings or _ROWS)


# Many short rows make a steadier loss than few long ones.
_ROWS = Settings(batch_size=32, sequence_length=32)
_CODE_AND_PROSE = (("code", 0.5), ("documentation", 0.5))
_EPOCH = 60  # steps: short enough to be learned by heart


def _sequence_stages(seed: int) -> Recipe:
    recipe = _recipe(seed, shape=Shape(context=128), settings=Settings(batch_size=16, sequence_length=32))
    return recipe.changed(350, 699, sequence_length=64).changed(700, sequence_length=128)


def _epochs(seed: int, *, reshuffle: bool) -> Recipe:
    return _recipe(seed, settings=replace(_ROWS, window_count=_EPOCH * _ROWS.batch_size, reshuffle=reshuffle))


HEALTHY: dict[str, Callable[[int], Recipe]] = {
    "cosine": _recipe,
    "wsd": lambda seed: _recipe(
        seed,
        shape=Shape(layers=3, tied_head=False),
        settings=Settings(schedule="wsd", batch_size=8),
    ),
    "batch_doubled": lambda seed: _recipe(seed, settings=replace(_ROWS, batch_size=16)).changed(500, batch_size=32),
    "batch_halved": lambda seed: _recipe(seed).changed(500, batch_size=16),
    "sequence_stages": _sequence_stages,
    "small_batch": lambda seed: _recipe(
        seed, steps=1500, settings=replace(_ROWS, batch_size=2, rank_weights=(1.0,), rate=1e-3, beta2=0.99)
    ),
    "epochs_same_order": lambda seed: _epochs(seed, reshuffle=False),
    "epochs_reshuffled": lambda seed: _epochs(seed, reshuffle=True),
    "domain_mix": lambda seed: _recipe(seed, settings=replace(_ROWS, domains=_CODE_AND_PROSE)),
    "long_warmup": lambda seed: _recipe(seed, settings=replace(_ROWS, warmup=600)),
    "accumulation": lambda seed: _recipe(seed, steps=800, settings=replace(_ROWS, microbatches=4)),
    "long": lambda seed: _recipe(seed, steps=3000, settings=replace(_ROWS, batch_size=16)),
    "loss_scaler": lambda seed: _recipe(
        seed, shape=Shape(context=32, half=True), settings=replace(_ROWS, loss_scale=2.0**20, scaler="dynamic")
    ),
}

_Spoil = Callable[[Recipe, int, int], Recipe]  # healthy recipe, seed, fault step

# Twins that are healthy only just: what the fault takes away is what they needed.
_SGD = Settings(optimizer="sgd", rate=0.2, clip_norm=None, batch_size=32, sequence_length=32)
_CLIPPED_RATES = (3.0, 3.0, 1.5)
_POST_NORM_RATES = (3e-3, 1e-2, 8.5e-3)

HEALTHY |= {
    "gradient_descent": lambda seed: _recipe(seed, steps=500, settings=_SGD),
    "gradient_descent_clipped": lambda seed: _recipe(
        seed, steps=800, settings=replace(_SGD, rate=_CLIPPED_RATES[seed], clip_norm=0.1)
    ),
    "high_rate": lambda seed: _recipe(
        seed, steps=700, settings=replace(_ROWS, rate=1.5e-2, warmup=100, last_rate=0.01, batch_size=64)
    ),
    "post_norm": lambda seed: _recipe(
        seed,
        steps=600,
        shape=Shape(layers=4, context=32, norm="post"),
        settings=replace(_ROWS, rate=_POST_NORM_RATES[seed], warmup=200, beta2=0.999),
    ),
    "deep_decay": lambda seed: _recipe(
        seed, steps=700, settings=replace(_ROWS, rate=2.5e-2, warmup=150, last_rate=0.01, batch_size=64)
    ),
    "no_weight_decay": lambda seed: _recipe(
        seed, shape=Shape(context=32, watch_attention=True), settings=replace(_ROWS, weight_decay=0.0)
    ),
    "half_precision": lambda seed: _recipe(
        seed, steps=800, shape=Shape(context=32, half=True), settings=replace(_ROWS, loss_scale=1024.0)
    ),
}


def _beta2(recipe: Recipe, seed: int, step: int) -> Recipe:
    beta2, forgets = ((0.9999, True), (0.999, True), (0.5, False))[seed]
    return faults.adam_beta2(recipe, step, beta2=beta2, forgets=forgets)


def _bad_rank(recipe: Recipe, seed: int, step: int) -> Recipe:
    if seed == 0:
        return faults.bad_rank_data(recipe, step)
    return faults.bad_rank_weight(recipe, step, weight=(40.0, -6.0)[seed - 1])


def _corrupted_shard(recipe: Recipe, seed: int, step: int) -> Recipe:
    if seed == 1:
        return faults.corrupted_shard(recipe, step, step + 59, with_="shuffled")
    share = (1.0, 0.0, 0.25)[seed]
    return faults.corrupted_shard(recipe, step, step + 39, with_="random_bytes", share=share)


def _rate_jump(recipe: Recipe, seed: int, step: int) -> Recipe:
    factor, last = ((10.0, None), (30.0, step + 2), (5.0, None))[seed]
    return faults.learning_rate_jump(recipe, step, factor=factor, last=last)


@dataclass(frozen=True, slots=True)
class _Family:
    """Faulty runs of one cause: a twin, what spoils it, and when."""

    twin: str
    spoil: _Spoil
    fault_steps: tuple[int, int, int] = _FAULT_STEPS
    cause: str | None = None  # the family's name if None


# What differs from seed to seed is how severe the fault is, or which form of it strikes.
FAULTY: dict[str, _Family] = {
    "learning_rate_too_high": _Family(
        "high_rate",
        lambda recipe, seed, _: faults.learning_rate_too_high(recipe, factor=(7.0, 10.0, 10.0)[seed]),
        (1, 1, 1),
    ),
    "learning_rate_too_high_sgd": _Family(
        "gradient_descent",
        lambda recipe, seed, _: faults.learning_rate_too_high(recipe, factor=(5.0, 7.0, 10.0)[seed]),
        (1, 1, 1),
        cause="learning_rate_too_high",
    ),
    "learning_rate_jump": _Family("cosine", _rate_jump),
    "warmup_missing": _Family("post_norm", lambda recipe, *_: faults.warmup_missing(recipe), (1, 1, 1)),
    "schedule_restarted": _Family(
        "deep_decay",
        lambda recipe, seed, step: faults.schedule_restarted(recipe, step, warmup=(1, 20, 50)[seed]),
        (560, 600, 520),
    ),
    "corrupted_shard": _Family("cosine", _corrupted_shard),
    "repeated_batch": _Family(
        "wsd", lambda recipe, seed, step: faults.repeated_batch(recipe, step, times=(40, 80, 20)[seed])
    ),
    "domain_switch": _Family(
        "cosine",
        lambda recipe, seed, step: faults.domain_switch(recipe, step, to="documentation", over=(0, 200, 0)[seed]),
    ),
    "adam_epsilon_large": _Family(
        "cosine", lambda recipe, seed, step: faults.adam_epsilon(recipe, step, epsilon=(1e-3, 1e-2, 1e-1)[seed])
    ),
    "adam_epsilon_zero": _Family("wsd", lambda recipe, _, step: faults.adam_epsilon(recipe, step, epsilon=0.0)),
    "adam_beta2": _Family("cosine", _beta2),
    "attention_growth": _Family(
        "no_weight_decay",
        lambda recipe, seed, step: faults.attention_growth(recipe, step, factor=(30.0, 100.0, 15.0)[seed]),
    ),
    "half_overflow": _Family(
        "half_precision",
        lambda recipe, seed, step: faults.half_overflow(recipe, step, loss_scale=(2.0**22, 2.0**24, 2.0**23)[seed]),
    ),
    "bad_rank": _Family("cosine", _bad_rank),
    "label_shift": _Family(
        "wsd", lambda recipe, seed, step: faults.label_shift(recipe, step, (None, None, step + 99)[seed])
    ),
    # Early enough for the rate to be near its peak: what is lost later, nobody misses.
    "clipping_lost": _Family(
        "gradient_descent_clipped", lambda recipe, _, step: faults.clipping_lost(recipe, step), (400, 300, 240)
    ),
}


def _healthy_case(cause: str, seed: int) -> Case:
    return Case(f"{cause}-{seed}", cause, HEALTHY[cause](seed))


def _faulty_case(name: str, family: _Family, seed: int) -> Case:
    fault_step = family.fault_steps[seed]
    recipe = family.spoil(HEALTHY[family.twin](seed), seed, fault_step)
    return Case(f"{name}-{seed}", family.cause or name, recipe, f"{family.twin}-{seed}", fault_step)


CASES = {
    case.name: case
    for case in (
        *(_healthy_case(cause, seed) for cause in HEALTHY for seed in SEEDS),
        *(_faulty_case(name, family, seed) for name, family in FAULTY.items() for seed in SEEDS),
    )
}
