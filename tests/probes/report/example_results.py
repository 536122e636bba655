"""Results whose numbers are known, without any model."""

from __future__ import annotations

import numpy as np

from pretrain_monitor.probes.averages import domain_metrics
from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.results import ModelResult, ProbeOutcome, Results

BYTES = np.random.default_rng(1).integers(300, 900, 30)


def scores(level: float, seed: int, *, key: str = "key", has_bytes: bool = True) -> Scores:
    """Thirty documents that cost ``level`` bits per byte in all, and differ a little in it."""
    noise = np.random.default_rng(seed).normal(0, 0.004, len(BYTES))
    nats = np.log(2) * BYTES * level * (1 + noise - float(noise @ BYTES) / BYTES.sum())
    return Scores(nats, BYTES // 4, BYTES if has_bytes else np.zeros_like(BYTES), key)


def text_probe(seed: int, has_bytes: bool = True, **levels: float) -> ProbeOutcome:
    found = {f"heldout/{name}": scores(level, seed, has_bytes=has_bytes) for name, level in levels.items()}
    metrics = {key: value for name, one in found.items() for key, value in domain_metrics(name, one).items()}
    return ProbeOutcome("heldout", "perplexity", metrics, found, ("windows of 64 tokens",), 2.0, 500.0, 2 * 10**9)


def task_probe(name: str, accuracy: float, bits: float, seed: int) -> ProbeOutcome:
    metrics = {
        "accuracy": accuracy,
        "accuracy_lower": accuracy - 0.1,
        "accuracy_upper": accuracy + 0.1,
        "chance": 0.25,
        "gold_bits_per_byte": bits,
        "gold_bits_per_byte_se": 0.01,
        "questions": 30.0,
    }
    metrics = {f"task/{name}/{key}": value for key, value in metrics.items()}
    return ProbeOutcome("tasks", "choice", metrics, {f"task/{name}": scores(bits, seed)}, (), 1.0)


def token_probe(**bytes_per_token: float) -> ProbeOutcome:
    metrics = {f"tokenization/{name}/bytes_per_token": value for name, value in bytes_per_token.items()}
    metrics |= {f"{name}_se": 0.01 for name in metrics}
    return ProbeOutcome("tokenization", "tokenization", metrics, {}, (), 0.1)


def model(name: str, *probes: ProbeOutcome, step: int | None = None, **facts: object) -> ModelResult:
    known = {"parameters": 1_000_000, "dtype": "float32", "tokenizer": name, "vocabulary": 256, **facts}
    return ModelResult(f"runs/{name}", name, step, probes=probes, **known)  # type: ignore[arg-type]


def course(*levels: dict[str, float]) -> Results:
    """Checkpoints of one run, a hundred steps apart."""
    return Results(
        [
            model(f"checkpoint-{100 * number}", text_probe(number, **each), step=100 * number)
            for number, each in enumerate(levels, 1)
        ],
        "probes.yaml",
        "cpu",
        {"torch": "2.13.0"},
        "2026-01-01",
    )
