"""Runs in which nothing is wrong, some with what could be taken for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import tokenizers
from .cases import Case
from .documents import DomainPlan, SuitePlan
from .ordinary import DOMAINS, SUITES, Generated, ordinary, with_probes
from .runs import Session
from .shapes import bump, by_completed, ramp
from .trained import Training


def cosine(seed: int) -> Generated:
    more = (tokenizers.measured(tokenizers.good(), "code", "documentation"),)
    return with_probes(ordinary(seed, 10_000), seed, more=more)


def stage_announced(seed: int) -> Generated:
    course = ordinary(seed, 12_000, schedule="wsd", peak=1e-3)
    # The data of the decay are better ones: easier to predict, and books among them.
    course.added = -ramp(course.steps, 9600, 9600, 0.06)
    course.announced = {9600: "stage 2: better data"}
    moves = by_completed(ramp(course.steps, 9600, 10_800, -0.03))
    domains = {**DOMAINS, "books": replace(DOMAINS["books"], moves=moves)}
    more = (tokenizers.measured(tokenizers.good(), "documentation"),)
    return with_probes(course, seed, domains=domains, more=more)


def linear_to_nothing(seed: int) -> Generated:
    return with_probes(ordinary(seed, 6000, schedule="linear", last=0.0, sd=0.008), seed)


def very_long(seed: int) -> Generated:
    course = ordinary(seed, 200_000, warm_up=2000, peak=3e-4, sd=0.007, floor=1.75)
    return with_probes(course, seed, every=5000)


def very_short(seed: int) -> Generated:
    # So short a run is no better than a compressor, and nobody gives it texts that are enough for one.
    domains = {name: replace(plan, documents=20, compressor=None) for name, plan in DOMAINS.items()}
    return with_probes(ordinary(seed, 300, warm_up=30, sd=0.02), seed, domains=domains, every=25)


def small_batches(seed: int) -> Generated:
    course = ordinary(seed, 5000, sd=0.05)
    course.tokens_per_step = 8192
    return with_probes(course, seed, domains={"code": DOMAINS["code"], "books": DOMAINS["books"]})


def spike_that_recovers(seed: int) -> Generated:
    course = ordinary(seed, 12_000)
    course.lasting = bump(course.steps, 5200, 0.9, rise=2, decay=12)
    course.norm *= np.exp(bump(course.steps, 5199, 1.8, rise=2, decay=5))
    return with_probes(course, seed)


def a_few_bad_batches(seed: int) -> Generated:
    course = ordinary(seed, 9000, schedule="wsd")
    for step in (2210, 5034, 7777):
        course.added[step] = 0.8
        course.norm[step] *= 2.5
    # Domains are learned at different paces, and from different depths.
    domains = {**DOMAINS, "mathematics": DomainPlan(1.4, pace=1.25, compressor=2.0)}
    return with_probes(course, seed, domains=domains, suites={**SUITES, "trivia": SuitePlan(0.8, questions=1000)})


def resumed(seed: int) -> Generated:
    course = ordinary(seed, 8000)
    # The second process was killed 40 steps after its last checkpoint, and they were made once more.
    course.sessions = (Session(1, 3000, "interrupted"), Session(3001, 5240, "killed"), Session(5201, 8000))
    return with_probes(course, seed)


def trained(seed: int) -> Training:
    return Training(seed, steps=600, resumes_at=250)


HEALTHY = (
    Case(cosine, "10,000 steps, cosine, tokenizer measured"),
    Case(stage_announced, "12,000 steps, warm-up, stable, decay; better data with the decay, which is announced"),
    Case(linear_to_nothing, "6,000 steps, linear to 0, steady loss"),
    Case(very_long, "200,000 steps, cosine"),
    Case(very_short, "300 steps, cosine"),
    Case(small_batches, "5,000 steps, cosine, noise of 5 %, two domains"),
    Case(spike_that_recovers, "12,000 steps, cosine, a spike of 0.9 nats that is over in 50 steps"),
    Case(a_few_bad_batches, "9,000 steps, warm-up, stable, decay; 3 bad batches, a domain that is learned sooner"),
    Case(resumed, "8,000 steps, cosine, interrupted once, killed once, resumed both times as it should be"),
    Case(trained, "real training of 600 steps, resumed in the middle"),
)
