"""What a model's log-likelihoods say about its answers: how many are right, how surely, and at what cost."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .base import ProbeResult, Scores
from .questions import Suite

Floats = NDArray[np.float64]

_TWO_SIDED_95 = 1.959963984540054


def summarise(
    suite: Suite,
    loglikelihoods: ArrayLike,
    tokens: ArrayLike,
    bytes: ArrayLike,
    greedy: ArrayLike,
    *,
    key: str = "",
) -> tuple[ProbeResult, Scores]:
    """Metrics of a suite under ``task/<suite>/``, with notes, and what each question cost.

    Arrays have shape (choices,): one entry for each choice, those of the first question first. When two choices are
    equally likely the first is picked, as by numpy's argmax. A question for which a model gives no number counts as
    wrong and is left out of the bits per byte.

    ``accuracy_per_byte`` divides by the text of a choice without the white space before it, as lm-evaluation-harness
    does; ``gold_bits_per_byte`` divides by all bytes that were scored.

    Args:
        loglikelihoods: in nats, of each choice given its context; 0 or less.
        tokens: how many were scored, 1 or more.
        bytes: UTF-8 bytes of the text that was scored, 1 or more.
        greedy: whether each token of the choice was the likeliest one in its place; only read for cloze suites.
        key: anything that must be the same before two rounds may be paired and the numbers do not show, such as the
            name of the tokenizer and the context length.
    """
    nats = -np.asarray(loglikelihoods, dtype=np.float64)
    token_counts = np.asarray(tokens, dtype=np.int64)
    byte_counts = np.asarray(bytes, dtype=np.int64)
    counts = np.array([len(question.choices) for question in suite.questions])
    first = np.cumsum(counts) - counts
    gold = first + np.array([question.gold for question in suite.questions])
    broken = np.add.reduceat(np.isnan(nats), first) > 0

    if suite.kind == "cloze":
        right = np.asarray(greedy, dtype=bool)[gold] & ~broken
    else:
        right = (_picked(-nats, first, counts) == gold) & ~broken
    metrics = {"accuracy": float(right.mean())}
    if suite.kind != "cloze":
        lengths = np.array([_length(choice) for question in suite.questions for choice in question.choices])
        for name, divisor in (("accuracy_per_token", token_counts), ("accuracy_per_byte", lengths)):
            metrics[name] = float(np.mean((_picked(-nats / divisor, first, counts) == gold) & ~broken))
    metrics["accuracy_lower"], metrics["accuracy_upper"] = wilson_interval(int(right.sum()), len(right))
    metrics["chance"] = suite.chance
    if suite.kind != "cloze":
        metrics["chance_p"] = guessing_p_value(int(right.sum()), counts)
    known = ~np.isnan(nats[gold])
    if known.any():
        bits, error = bits_per_byte(nats[gold][known], byte_counts[gold][known])
        metrics["gold_bits_per_byte"] = bits
        if error is not None:
            metrics["gold_bits_per_byte_se"] = error
    metrics["questions"] = float(len(suite.questions))

    notes = []
    if broken.any():
        notes.append(f"{suite.name}: {int(broken.sum())} of {len(right)} questions got NaN and count as wrong")
    constant = suite.best_constant
    if constant is not None and constant > suite.chance + 0.05:
        notes.append(
            f"{suite.name}: always giving the same answer is right in {constant:.0%}, chance is {suite.chance:.0%}"
        )
    scores = Scores(
        nats[gold], token_counts[gold], byte_counts[gold], _key(suite, key, token_counts), right.astype(np.float64)
    )
    prefix = f"task/{suite.name}/"
    return ProbeResult({prefix + name: value for name, value in metrics.items()}, notes=notes), scores


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """95 % interval for a share (Wilson 1927); unlike share ± 2 errors it is not empty at 0 or 1.

    >>> [round(bound, 4) for bound in wilson_interval(0, 10)]
    [0.0, 0.2775]
    """
    share, z = right / count, _TWO_SIDED_95
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # At the ends the exact bound is 0 or 1, which rounding misses by a hair.
    lower = 0.0 if right == 0 else (middle - half) / scale
    upper = 1.0 if right == count else (middle + half) / scale
    return lower, upper


def guessing_p_value(right: int, counts: NDArray[Any]) -> float:
    """Probability of at least so many right answers by guessing; small when the model does better than that.

    Exact: questions with the same number of choices have a binomial number of right guesses, and the sum over all of
    them has the convolution of these (the Poisson binomial distribution; Wang 1993).

    Args:
        counts: shape (questions,), how many choices each has.

    >>> guessing_p_value(2, np.array([2, 4]))
    0.125
    """
    mass = np.ones(1)
    for choices, questions in sorted(Counter(counts.tolist()).items()):
        mass = np.convolve(mass, _binomial(questions, 1 / choices))
    return float(min(1.0, mass[right:].sum()))


def bits_per_byte(nats: Floats, bytes: NDArray[np.int64]) -> tuple[float, float | None]:
    """Summed nats by summed bytes, in bits, and its standard error over questions; None for a single question.

    The error is that of a ratio of two sums (Cochran 1977, section 2.11): questions with long answers weigh more.
    """
    total = float(bytes.sum()) * math.log(2)
    ratio = float(nats.sum()) / total
    if len(nats) < 2:
        return ratio, None
    residuals = nats - ratio * math.log(2) * bytes
    return ratio, math.sqrt(len(nats) / (len(nats) - 1) * float(residuals @ residuals)) / total


def _picked(values: Floats, first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number, among all choices, of the largest value of each question; the first of equal ones."""
    table = np.full((len(counts), int(counts.max())), -np.inf)
    table[np.arange(table.shape[1]) < counts[:, None]] = values
    picked: NDArray[np.int64] = first + np.argmax(table, axis=1)
    return picked


def _binomial(count: int, p: float) -> Floats:
    """Probability of 0, 1, ... count successes. By logarithms: the factorials of a thousand do not fit a float."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    k = np.arange(count + 1)
    log_choose = log_factorial[count] - log_factorial - log_factorial[::-1]
    return np.asarray(np.exp(log_choose + k * math.log(p) + (count - k) * math.log1p(-p)), dtype=np.float64)


def _length(choice: str) -> int:
    return len((choice.lstrip() or choice).encode())


def _key(suite: Suite, key: str, tokens: NDArray[np.int64]) -> str:
    # Two tokenizers hardly ever cut all answers into the same numbers of tokens.
    return hashlib.sha256(f"{suite.fingerprint} {key} {tokens.tolist()}".encode()).hexdigest()[:16]
