"""Rounds of probes with known truth: domains that are learned, wobble with the run, and are forgotten or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pretrain_monitor.probes.base import Scores

DOMAINS = ("heldout/code", "heldout/law", "heldout/news", "heldout/novels", "heldout/talk")


def probe_rounds(
    rounds: int = 30,
    *,
    seed: int,
    documents: int = 40,
    every: int = 500,
    wobble: float = 0.006,
    shared: float = 0.25,
    is_learning: bool = True,
    forgets: Mapping[str, tuple[int, float, float]] | None = None,
) -> Iterator[tuple[int, dict[str, Scores]]]:
    """Step and scores of each round.

    A document costs its own difficulty times the learning curve of its domain, times a wobble of the whole domain in
    this round, part of it shared by all domains, times one of the document alone, as measured on small transformers.

    Args:
        wobble: standard deviation of a domain's level from round to round.
        shared: part of the wobble's variance that all domains have in common.
        forgets: domain -> first round that is worse, how much in the end, and rounds in which two thirds of that come.
    """
    rng = np.random.default_rng(seed)
    sizes = {name: rng.lognormal(6.7, 0.6, documents).astype(np.int64) + 50 for name in DOMAINS}
    difficulty = {name: np.exp(0.3 * rng.standard_normal(documents)) for name in DOMAINS}
    sensitivity = {name: rng.lognormal(-0.18, 0.6, documents) for name in DOMAINS}
    for i in range(rounds):
        together = rng.standard_normal()
        scores = {}
        for place, name in enumerate(DOMAINS):
            moves = wobble * (np.sqrt(shared) * together + np.sqrt(1 - shared) * rng.standard_normal())
            first, size, time = (forgets or {}).get(name, (rounds, 0.0, 1.0))
            # What is not trained on any more is not learned any more either.
            level = 0.9 + 0.1 * place + (3 * min(i + 1, first) ** -0.6 if is_learning else 0.3)
            lost = size * (1 - np.exp(-max(i - first + 1, 0) / time)) * sensitivity[name]
            alone = 0.01 * np.sqrt(800 / sizes[name]) * rng.standard_t(4, documents)
            nats = np.log(2) * sizes[name] * difficulty[name] * level * np.exp(moves + lost + alone)
            scores[name] = Scores(nats, sizes[name] // 4 + 1, sizes[name], f"{name}, {documents}")
        yield i * every, scores
