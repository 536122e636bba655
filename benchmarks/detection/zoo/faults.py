"""What goes wrong in practice: each function takes a healthy recipe and spoils it from a step on."""

from __future__ import annotations

from typing import Literal

from .recipes import Recipe

Corruption = Literal["random_bytes", "shuffled"]


def learning_rate_too_high(recipe: Recipe, *, factor: float) -> Recipe:
    """A peak that the model does not bear, from the first step on."""
    return recipe.changed(1, rate_factor=factor)


def learning_rate_jump(recipe: Recipe, step: int, *, factor: float, last: int | None = None) -> Recipe:
    """A typing error in the command that resumes the run; somebody may notice it at step ``last``."""
    return recipe.changed(step, last, rate_factor=factor)


def warmup_missing(recipe: Recipe) -> Recipe:
    """The full rate in the first step, when Adam has seen one gradient."""
    return recipe.changed(1, warmup=0)


def schedule_restarted(recipe: Recipe, step: int, *, warmup: int) -> Recipe:
    """A resumed run whose scheduler begins at zero: it warms up to the peak again, late in the decay."""
    return recipe.changed(step, schedule_start=step - 1, warmup=warmup)


def corrupted_shard(recipe: Recipe, step: int, last: int, *, with_: Corruption, share: float = 1.0) -> Recipe:
    """A stretch of data that is not text."""
    return recipe.changed(step, last, corruption=with_, corrupted_share=share)


def repeated_batch(recipe: Recipe, step: int, *, times: int) -> Recipe:
    """A data loader that hangs on one batch for a while."""
    return recipe.changed(step, step + times - 1, repeats_step=step)


def domain_switch(recipe: Recipe, step: int, *, to: str, over: int = 0) -> Recipe:
    """All data from another domain, at once or in ten portions over some steps."""
    (domain, _), *rest = recipe.settings.domains
    if rest:
        raise ValueError(f"a switch of domain needs a run on one domain, this one has {len(rest) + 1}")
    for portion in range(1, 10) if over else ():
        share = portion / 10
        mix = ((domain, 1 - share), (to, share))
        recipe = recipe.changed(step + (portion - 1) * over // 10, domains=mix)
    return recipe.changed(step + over * 9 // 10, domains=((to, 1.0),))


def adam_epsilon(recipe: Recipe, step: int, *, epsilon: float) -> Recipe:
    """Too large: every gradient looks small. Zero: a weight that never had a gradient is updated by 0/0."""
    return recipe.changed(step, epsilon=epsilon)


def adam_beta2(recipe: Recipe, step: int, *, beta2: float, forgets: bool) -> Recipe:
    """Another memory of the second moments; with ``forgets`` they are lost at the resume, but not the step count."""
    recipe = recipe.changed(step, beta2=beta2)
    return recipe.changed(step, step, forget_variance=True) if forgets else recipe


def attention_growth(recipe: Recipe, step: int, *, factor: float) -> Recipe:
    """Nothing bounds queries and keys, and their weights learn too fast: the wrong group of parameters is scaled."""
    return recipe.changed(step, attention_rate_factor=factor)


def half_overflow(recipe: Recipe, step: int, *, loss_scale: float) -> Recipe:
    """A loss scale that scaled gradients in 16 bits do not fit under, and nobody looks whether they do."""
    return recipe.changed(step, loss_scale=loss_scale, scaler="static")


def bad_rank_data(recipe: Recipe, step: int) -> Recipe:
    """One of four data-parallel ranks reads random bytes."""
    return recipe.changed(step, corruption="random_bytes", corrupted_share=0.25)


def bad_rank_weight(recipe: Recipe, step: int, *, weight: float) -> Recipe:
    """One of four data-parallel ranks hands in its gradient multiplied by ``weight``."""
    return recipe.changed(step, rank_weights=(1.0, 1.0, 1.0, weight))


def label_shift(recipe: Recipe, step: int, last: int | None = None) -> Recipe:
    """Targets that lie one position further ahead than they should."""
    return recipe.changed(step, last, label_shift=1)


def clipping_lost(recipe: Recipe, step: int) -> Recipe:
    """A resumed run without the limit on its gradient norm."""
    return recipe.changed(step, clip_norm=None)
