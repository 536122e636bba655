"""Runs whose loss is as it should be, and what they have learned is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pretrain_monitor.probes.tokenization import TokenizationProbe

from . import tokenizers
from .cases import Case
from .documents import DomainPlan, SuitePlan
from .ordinary import DOMAINS, SUITES, Generated, ordinary, with_probes
from .shapes import Floats, bump, by_completed, ramp
from .trained import Training


def learned_by_heart(seed: int) -> Generated:
    course = ordinary(seed)
    course.added = -ramp(course.steps, 2600, course.steps, 0.9)
    return with_probes(course, seed, domains=_moved(ramp(course.steps, 2600, course.steps, 0.12)))


def learned_by_heart_in_training(seed: int) -> Training:
    return Training(seed, windows=64, rate=4e-3)


def held_out_rises(seed: int) -> Generated:
    course = ordinary(seed)
    course.added = -ramp(course.steps, 4200, course.steps, 0.25)
    return with_probes(course, seed, domains=_moved(ramp(course.steps, 4200, course.steps, 0.09)))


def held_out_leaks(seed: int) -> Generated:
    course = ordinary(seed)
    leaked = _settling(course.steps, 3700, -0.6, over=150)
    return with_probes(course, seed, domains=_moved(leaked, "books"))


def held_out_leaks_in_training(seed: int) -> Training:
    return Training(seed, steps=440, rate=4e-3, leaks_from=180)


def poor_level(seed: int) -> Generated:
    course = ordinary(seed, floor=3.9)
    poor = {name: replace(plan, floor=plan.floor + 2.0, compressor=None) for name, plan in DOMAINS.items()}
    return with_probes(course, seed, domains=poor)


def suite_at_chance(seed: int) -> Generated:
    return with_probes(ordinary(seed), seed, suites={**SUITES, "arithmetic": SuitePlan(0.0)})


def domain_forgotten(seed: int) -> Generated:
    course = ordinary(seed)
    return with_probes(course, seed, domains=_moved(_settling(course.steps, 3300, 0.14, over=300), "code"))


def domain_forgotten_slowly(seed: int) -> Generated:
    course = ordinary(seed)
    return with_probes(course, seed, domains=_moved(ramp(course.steps, 3000, course.steps, 0.10), "encyclopedia"))


def suite_forgotten(seed: int) -> Generated:
    course = ordinary(seed)
    lost = _settling(course.steps, 3600, 0.9, over=300)
    return with_probes(course, seed, suites={**SUITES, "law": SuitePlan(1.8, lost=by_completed(lost))})


def domain_forgotten_in_training(seed: int) -> Training:
    return Training(seed, steps=500, only_russian_from=280)


def merges_lost(seed: int) -> Generated:
    return _tokenized(seed, tokenizers.measured(tokenizers.without_merges(), "code", "documentation"))


def language_without_tokens(seed: int) -> Generated:
    return _tokenized(seed, tokenizers.measured(tokenizers.good(), "code", "documentation", "russian"))


def unknown_words(seed: int) -> Generated:
    return _tokenized(seed, tokenizers.measured(tokenizers.of_words(), "code", "documentation"))


def no_better_than_a_compressor(seed: int) -> Generated:
    swahili = DomainPlan(5.9, pace=0.8, compressor=2.3)
    return with_probes(ordinary(seed), seed, domains={**DOMAINS, "swahili": swahili})


def domain_far_behind(seed: int) -> Generated:
    patents = DomainPlan(4.4, pace=0.75, compressor=2.35)
    return with_probes(ordinary(seed), seed, domains={**DOMAINS, "patents": patents})


def bad_batches(seed: int) -> Generated:
    return _with_bad_batches(seed, norm_factor=(1.5, 4.0))


def bad_batches_of_usual_norm(seed: int) -> Generated:
    return _with_bad_batches(seed, norm_factor=(0.9, 1.3))


def damaged_shard(seed: int) -> Generated:
    course = ordinary(seed)
    for step, height in ((1710, 1.1), (3155, 0.9), (4720, 1.4)):
        course.lasting = course.lasting + bump(course.steps, step, height, rise=4, decay=14)
        course.norm *= np.exp(bump(course.steps, step, 1.4, rise=2, decay=6))
    return with_probes(course, seed)


def damaged_shard_elsewhere(seed: int) -> Generated:
    """Another model on the same data: larger, and hit less hard."""
    course = ordinary(seed + 500, floor=1.7, peak=3e-4)
    for step, height in ((1710, 0.7), (3155, 0.8), (4720, 0.9)):
        course.lasting = course.lasting + bump(course.steps, step, height, rise=4, decay=10)
        course.norm *= np.exp(bump(course.steps, step, 1.2, rise=2, decay=6))
    return with_probes(course, seed + 500)


def _with_bad_batches(seed: int, *, norm_factor: tuple[float, float]) -> Generated:
    course = ordinary(seed)
    rng = np.random.default_rng((seed, 1))
    at = rng.choice(np.arange(400, course.steps), 36, replace=False)
    course.added[at] = rng.uniform(0.5, 1.8, len(at))
    course.norm[at] *= rng.uniform(*norm_factor, len(at))
    return with_probes(course, seed)


def _moved(moves: Floats, *domains: str) -> dict[str, DomainPlan]:
    """The usual domains, those named (or all) with a loss that is multiplied by ``exp(moves)``."""
    return {
        name: replace(plan, moves=by_completed(moves)) if name in domains or not domains else plan
        for name, plan in DOMAINS.items()
    }


def _settling(steps: int, first: int, size: float, *, over: float) -> Floats:
    """Nothing before a step, ``size`` long after it, two thirds of it after ``over`` steps."""
    return np.asarray(size * (1 - np.exp(-np.maximum(np.arange(1, steps + 1) - first, 0) / over)))


def _tokenized(seed: int, probe: TokenizationProbe) -> Generated:
    return with_probes(ordinary(seed, 3000), seed, more=(probe,))


KNOWLEDGE = (
    Case(learned_by_heart, "training loss falls 0.9 nats below held-out text, which stays", ("held_out/gap",)),
    Case(
        learned_by_heart_in_training,
        "real training on 64 rows of text, 100 times over",
        ("held_out/gap", "held_out/trend"),
    ),
    Case(held_out_rises, "held-out loss rises by 5 % in the last 30 %, training loss falls", ("held_out/trend",)),
    Case(held_out_leaks, "loss of one held-out domain falls by 40 % in 300 steps", ("held_out/contamination",)),
    Case(
        held_out_leaks_in_training,
        "real training: held-out text is three quarters of every batch from 40 % on",
        ("held_out/contamination",),
    ),
    Case(
        poor_level,
        "1.9 bits per byte where 1.3 are asked for",
        ("held_out/level",),
        criteria={"extends": "research", "checks": {"held_out/level": {"need": "required", "at_most": 1.3}}},
    ),
    Case(suite_at_chance, "one of four suites is answered by guessing", ("knowledge/chance",)),
    Case(
        domain_forgotten,
        "from 55 % on code costs up to 14 % more than it would have",
        ("knowledge/retention", "held_out/trend"),
    ),
    Case(
        domain_forgotten_slowly,
        "over half of the run a domain comes to cost 10 % more than it would have",
        ("knowledge/retention", "held_out/trend"),
    ),
    Case(suite_forgotten, "a suite loses 90 % of what it was above guessing", ("knowledge/retention",)),
    Case(
        domain_forgotten_in_training,
        "real training: nothing but Russian in the batches from 56 % on",
        ("knowledge/retention",),
    ),
    Case(merges_lost, "real tokenizer without its merges: a token is a byte", ("tokenization/efficiency",)),
    Case(
        language_without_tokens,
        "real tokenizer trained on English and code, measured on Russian too",
        ("tokenization/efficiency", "tokenization/unknown"),
    ),
    Case(unknown_words, "real tokenizer of words that does not know those of code", ("tokenization/unknown",)),
    Case(
        no_better_than_a_compressor,
        "one of five domains costs what a compressor needs",
        ("coverage/compressor",),
    ),
    Case(domain_far_behind, "a domain costs twice what the others do, in bits per byte", ("coverage/behind",)),
    Case(
        bad_batches,
        "36 single batches of 6,000 cost 0.5 to 1.8 nats more, with 1.5 to 4 times the gradient norm",
        ("data/bad_batches",),
    ),
    Case(bad_batches_of_usual_norm, "the same, with the norm that others have", ("data/bad_batches",)),
    Case(
        damaged_shard,
        "3 spikes, at the same steps as in another run",
        ("data/same_step",),
        against=damaged_shard_elsewhere,
    ),
)
