"""What probes find of a run by formula: domains learned at their own pace, tasks, a tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pretrain_monitor.probes.answers import wilson_interval
from pretrain_monitor.probes.averages import averaged_metrics, domain_metrics
from pretrain_monitor.probes.base import Scores

from .shapes import Training

DOMAINS: Mapping[str, tuple[float, float, float]] = {
    # cost over that of the training text, bits per byte of xz, spread of the documents
    "code": (0.80, 2.0, 0.35),
    "law": (1.05, 2.3, 0.2),
    "maths": (1.00, 2.2, 0.25),
    "news": (1.10, 2.6, 0.2),
    "novels": (1.20, 2.8, 0.15),
}
# Chance, the accuracy that more training would come to, and the share of the way at which it is half learned.
TASKS: Mapping[str, tuple[float, float, float]] = {
    "science/sciq": (0.25, 0.75, 0.25),
    "reasoning/piqa": (0.5, 0.72, 0.3),
    "narrative/hellaswag": (0.25, 0.5, 0.35),
}
BYTES_PER_TOKEN = 4.1
_DOCUMENTS, _QUESTIONS = 60, 500

Effect = Callable[[str, int], float]  # domain, step -> factor on what it costs


@dataclass
class Probed:
    """
    Args:
        rounds: how many, evenly over the run.
        effect: what a domain costs more or less than a healthy one, as a factor.
        task_effect: share of what a healthy model has learned of a task beyond chance.
        tokenizer: metrics of the tokenizer by domain.
        coverage: whether texts are long enough for a compressor.
    """

    rounds: int = 20
    wobble: float = 0.004
    effect: Effect = field(default=lambda domain, step: 1.0)
    task_effect: Effect = field(default=lambda task, step: 1.0)
    tokenizer: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: SOUND_TOKENIZER)
    coverage: bool = True
    has_tasks: bool = True


SOUND_TOKENIZER = {
    name: {"bytes_per_token": value, "fertility": words, "unknown_share": 0.0, "byte_fallback_share": 0.0004}
    for name, value, words in (("code", 3.4, 2.2), ("news", 4.5, 1.3), ("novels", 4.3, 1.25))
}


def rounds_of(run: Training, probed: Probed, seed: int) -> list[tuple[int, dict[str, Scores], dict[str, float]]]:
    """Step, scores of the texts, and metrics of each round."""
    rng = np.random.default_rng((seed, 77))
    sizes = {name: rng.lognormal(7.2, 0.5, _DOCUMENTS).astype(np.int64) + 200 for name in DOMAINS}
    difficulty = {name: np.exp(spread * rng.standard_normal(_DOCUMENTS)) for name, (_, _, spread) in DOMAINS.items()}
    steps = np.unique(np.linspace(run.steps / probed.rounds, run.steps, probed.rounds).astype(np.int64))
    found = []
    for number, step in enumerate(steps.tolist()):
        level = _level(run, step)
        together = rng.standard_normal()
        scores = {}
        for name, (cost, _, _) in DOMAINS.items():
            moves = probed.wobble * (0.5 * together + 0.87 * rng.standard_normal())
            tokens = np.maximum((sizes[name] / BYTES_PER_TOKEN).astype(np.int64), 1)
            alone = 0.01 * rng.standard_t(5, _DOCUMENTS)
            each = level * cost * difficulty[name] / difficulty[name].mean() * probed.effect(name, step)
            nats = tokens * each * np.exp(moves + alone)
            scores[f"heldout/{name}"] = Scores(nats, tokens, sizes[name], f"{name}, {_DOCUMENTS}")
        metrics = _text_metrics(scores, probed)
        if probed.has_tasks:
            metrics |= _task_metrics(run, probed, step, rng)
        if number == 0:
            metrics |= {
                f"tokenization/{text}/{name}": value
                for text, facts in probed.tokenizer.items()
                for name, value in facts.items()
            }
        found.append((step, scores, metrics))
    return found


def _level(run: Training, step: int) -> float:
    """Of the training loss at a step, without its noise and without what single steps do."""
    reach = max(run.steps // 100, 10)
    part = run.loss[max(step - reach, 0) : step]
    finite = part[np.isfinite(part)]
    return float(np.median(finite)) if len(finite) else math.nan


def _text_metrics(scores: Mapping[str, Scores], probed: Probed) -> dict[str, float]:
    metrics = {name: value for domain, one in scores.items() for name, value in domain_metrics(domain, one).items()}
    metrics |= averaged_metrics("heldout", dict(scores))
    if probed.coverage:
        for name, (_, xz, _) in DOMAINS.items():
            bits = metrics[f"heldout/{name}/bits_per_byte"]
            metrics[f"heldout/{name}/compressor_bits_per_byte"] = xz
            metrics[f"heldout/{name}/coverage"] = xz / bits
    return metrics


def _task_metrics(run: Training, probed: Probed, step: int, rng: np.random.Generator) -> dict[str, float]:
    metrics = {}
    for name, (chance, best, half) in TASKS.items():
        share = step / run.steps
        learned = (best - chance) / (1 + (half / share) ** 3) * probed.task_effect(name, step)
        right = int(rng.binomial(_QUESTIONS, chance + learned))
        lower, upper = wilson_interval(right, _QUESTIONS)
        metrics |= {
            f"task/{name}/accuracy": right / _QUESTIONS,
            f"task/{name}/accuracy_lower": lower,
            f"task/{name}/accuracy_upper": upper,
            f"task/{name}/chance": chance,
            f"task/{name}/questions": float(_QUESTIONS),
        }
    return metrics
