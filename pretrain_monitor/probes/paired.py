"""Has a domain changed between two rounds? Statistics of paired documents, the same ones in both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .base import ProbeError, Scores

Floats = NDArray[np.float64]

_CONFIDENCE = 0.95
_NORMAL = NormalDist()
_NATS_PER_BIT = math.log(2)
_TINY = 1e-300  # keeps a continued fraction from dividing by zero


@dataclass(frozen=True, slots=True)
class PairedChange:
    """What the same documents cost in a later round less what they cost in an earlier one.

    Args:
        before: level of the earlier round, in bits per byte; in nats per token where bytes are unknown.
        after: of the later one.
        lower: of a two-sided 95 % interval for ``change``; None, as is ``upper``, with fewer than two documents.
        documents: how many were scored in both rounds.
    """

    before: float
    after: float
    standard_error: float | None
    degrees_of_freedom: float
    lower: float | None
    upper: float | None
    documents: int

    @property
    def p(self) -> float | None:
        """Chance of a change for the worse as clear as this one if there was none; None with one document."""
        return self.p_beyond(0.0)

    @property
    def change(self) -> float:
        return self.after - self.before

    def p_beyond(self, least: float) -> float | None:
        """Chance of a change as far beyond ``least`` if there was none beyond it; None without a test, one-sided."""
        if self.standard_error is None:
            return None
        excess = self.change - least
        if self.standard_error == 0:
            return 0.0 if excess > 0 else 1.0
        return t_tail(excess / self.standard_error, self.degrees_of_freedom)


def level(scores: Scores) -> float:
    """Bits per byte over all documents; nats per token where the bytes of some are unknown; NaN where none is scored.

    A ratio of sums: the mean of the documents' own ratios would let a short one count as much as a long one.
    """
    weights = _weights(scores)
    total = float(weights.sum())
    return float(scores.nats[scores.tokens > 0].sum()) / total if total > 0 else math.nan


def is_per_byte(scores: Scores) -> bool:
    """Whether all documents that were scored have a known number of bytes."""
    scored = scores.tokens > 0
    return bool(scored.any() and (scores.bytes[scored] > 0).all())


def _weights(scores: Scores) -> Floats:
    """What each scored document counts, in the unit under which its nats are bits per byte or nats per token."""
    scored = scores.tokens > 0
    sizes = scores.bytes if is_per_byte(scores) else scores.tokens
    unit = _NATS_PER_BIT if is_per_byte(scores) else 1.0
    return sizes[scored].astype(np.float64) * unit


def paired_change(before: Scores, after: Scores) -> PairedChange:
    """Change of the level of a domain from one round to another, held against how unequally its documents changed.

    The level is a ratio of sums, nats over bytes, and the error of its change that of a ratio estimator (Cochran 1977)
    by leaving out one document at a time (Tukey 1958): long documents weigh more, and with few of them the linear
    formula is too small. Student's t takes its degrees of freedom from the effective number of documents,
    (sum of bytes)^2 / sum of bytes^2 (Kish 1965), less one.

    Measured one-sided at 1 % on changes of normal, Laplace, Student t (3) and contaminated form, and lengths of
    log-normal spread .5 and 1: .3 to .8 % for 5 documents, .4 to .9 % for 10, .6 to 1.2 % for 30 and 100. With the
    linear formula and n - 1 it is up to 3.5 % for 10; a bootstrap of t values (Efron 1979; Hall 1988) gives 1.1 to 3 %.
    What no test can see are the few documents that would have become much better and are not among these: changes as
    lopsided as an exponential give 3 to 6 %. A correction for skewness (Hall 1992) takes half of that away, and up to
    a third of the power; changes of trained models lean to either side alike.

    Raises:
        ProbeError: the scores are of different documents.
    """
    if before.key != after.key or len(before.nats) != len(after.nats):
        raise ProbeError(
            "these scores are of different documents and cannot be paired: "
            f"{len(before.nats)} of {before.key!r} and {len(after.nats)} of {after.key!r}"
        )
    scored = after.tokens > 0
    weights = _weights(after)
    change = (after.nats - before.nats)[scored]
    levels = level(before), level(after)
    n, total = len(weights), float(weights.sum())
    squares = float(np.square(weights).sum())
    if n < 2 or not math.isfinite(levels[0]) or not math.isfinite(levels[1]):
        return PairedChange(*levels, None, 0.0, None, None, n)
    ratio = float(change.sum()) / total
    # By how much the ratio would move without each document.
    moves = (change - ratio * weights) / (total - weights)
    error = math.sqrt((n - 1) / n * float(np.square(moves - moves.mean()).sum()))
    freedom = max(total**2 / squares - 1, 1.0)
    reach = error * t_quantile(0.5 + _CONFIDENCE / 2, freedom)
    return PairedChange(*levels, error, freedom, ratio - reach, ratio + reach, n)


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """p values adjusted for being several (Holm 1979): an adjusted one below 5 % is a false alarm in at most 5 %.

    That is the chance of any false alarm among all of them, however they depend on each other.

    >>> holm({"law": 0.01, "code": 0.04, "novels": 0.03})
    {'law': 0.03, 'code': 0.06, 'novels': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(values, key=lambda name: values[name])):
        largest = max(largest, min((len(values) - place) * values[name], 1.0))
        adjusted[name] = largest
    return {name: adjusted[name] for name in values}


def t_tail(t: float, degrees_of_freedom: float) -> float:
    """Chance that Student's t is above ``t``; degrees of freedom need not be whole.

    >>> round(t_tail(2.764, 10), 4)
    0.01
    """
    half = 0.5 * _incomplete_beta(degrees_of_freedom / (degrees_of_freedom + t * t), degrees_of_freedom / 2, 0.5)
    return half if t > 0 else 1 - half


def t_quantile(share: float, degrees_of_freedom: float) -> float:
    """The value that Student's t exceeds with a chance of ``1 - share``, for ``share`` of a half and more.

    >>> round(t_quantile(0.975, 10), 3)
    2.228
    """
    x = _NORMAL.inv_cdf(share)
    scale = math.lgamma((degrees_of_freedom + 1) / 2) - math.lgamma(degrees_of_freedom / 2)
    scale -= 0.5 * math.log(degrees_of_freedom * math.pi)
    # Newton's steps. The tail is convex and wider than that of the normal: they go up to the quantile and not past it.
    for _ in range(100):
        density = math.exp(scale - (degrees_of_freedom + 1) / 2 * math.log1p(x * x / degrees_of_freedom))
        step = (t_tail(x, degrees_of_freedom) - (1 - share)) / density
        x += step
        if step <= 1e-12 * max(x, 1.0):
            break
    return x


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 1964, 26.5.8)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # Evaluated from the front (Lentz 1976).
    value, c, d = 1.0, 1.0, 0.0
    for place in range(1, 500):
        m = place // 2
        if place == 1:
            term = 1.0
        elif place % 2:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        d = 1 / ((1 + term * d) or _TINY)
        c = (1 + term / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(scale) * (value - 1) / a
