"""Perplexity and bits per byte of many documents, and how sure they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .base import Scores

_PER_BIT = math.log(2)


def ratio(above: NDArray[np.float64], below: NDArray[np.int64]) -> tuple[float, float]:
    """Sum over sum, and its standard error over documents (ratio estimator, Cochran 1977, section 2.11).

    A mean of the documents' own ratios would let short ones weigh as much as long ones.

    >>> ratio(np.array([2.0, 2.0]), np.array([1, 3]))
    (1.0, 0.5)

    Returns:
        the ratio and its standard error; NaN for the latter if there is one document only.
    """
    total = int(below.sum())
    value = float(above.sum()) / total
    count = len(above)
    if count < 2:
        return value, math.nan
    with np.errstate(invalid="ignore", over="ignore"):  # where a model holds a token for impossible
        rest = above - value * below
        return value, math.sqrt(count / (count - 1) * float((rest**2).sum())) / total


def perplexity(nats_per_token: float) -> float:
    """exp of the loss; infinite where that is too large for a float."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf


def bits_per_byte(scores: Scores) -> tuple[float, float] | None:
    """Cross-entropy per byte of text, comparable across tokenizers, and its standard error; None without bytes."""
    if not scores.bytes.all():
        return None
    value, error = ratio(scores.nats, scores.bytes)
    return value / _PER_BIT, error / _PER_BIT


def domain_metrics(prefix: str, scores: Scores) -> dict[str, float]:
    """The metrics of one domain, or of several taken together."""
    loss, error = ratio(scores.nats, scores.tokens)
    metrics = {f"{prefix}/loss": loss, f"{prefix}/loss_se": error, f"{prefix}/perplexity": perplexity(loss)}
    bits = bits_per_byte(scores)
    if bits is not None:
        metrics[f"{prefix}/bits_per_byte"], metrics[f"{prefix}/bits_per_byte_se"] = bits
    # One document has no spread; a NaN in the log would look like a failure of the model.
    return {name: value for name, value in metrics.items() if not (name.endswith("_se") and len(scores.nats) < 2)}


def averaged_metrics(prefix: str, domains: dict[str, Scores]) -> dict[str, float]:
    """Over several domains: ``micro`` takes all documents together, ``macro`` lets each domain count the same.

    The macro perplexity is that of the mean loss: a mean of perplexities would be the worst domain's alone.
    """
    parts = list(domains.values())
    nats = np.concatenate([part.nats for part in parts])
    tokens, sizes = np.concatenate([part.tokens for part in parts]), np.concatenate([part.bytes for part in parts])
    whole = Scores(nats, tokens, sizes, key="")
    metrics = domain_metrics(f"{prefix}/micro", whole)
    each = [domain_metrics("domain", part) for part in parts]
    for name in ("domain/loss", "domain/bits_per_byte"):
        if all(name in found for found in each):
            of_all = f"{prefix}/macro/{name.removeprefix('domain/')}"
            metrics[of_all] = math.fsum(found[name] for found in each) / len(each)
            errors = [found[f"{name}_se"] for found in each if f"{name}_se" in found]
            if len(errors) == len(each):
                metrics[f"{of_all}_se"] = math.hypot(*errors) / len(each)
    metrics[f"{prefix}/macro/perplexity"] = perplexity(metrics[f"{prefix}/macro/loss"])
    return metrics
