"""How far a score could be off: curves of one repository or cause are not independent, so whole sources are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .curves import Floats
from .scoring import Score

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """Central 95 % of what other draws of the same sources would have given."""

    precision: Interval
    recall: Interval
    f1: Interval
    false_per_10k: Interval


def intervals(by_source: Mapping[str, Score], *, draws: int = DRAWS, seed: int = 0) -> Intervals:
    """95 % intervals of the lenient scores by resampling whole sources with replacement (Efron 1979, percentiles).

    With few sources, as in a corpus of five repositories, they are wide, and still too narrow: nothing is known of the
    repositories that are not there. Draws without anything to count are left out; bounds are NaN if all are.
    """
    counts = np.array(
        [(s.hits, len(s.musts), s.lenient.episodes, s.lenient.clear_rows) for s in by_source.values()], dtype=float
    )
    rng = np.random.default_rng(seed)
    drawn = counts[rng.integers(len(counts), size=(draws, len(counts)))].sum(axis=1)
    hits, events, false, clear_rows = drawn.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return Intervals(
            precision=_central(hits / (hits + false)),
            recall=_central(hits / events),
            f1=_central(np.where(events > 0, 2 * hits / (hits + false + events), np.nan)),
            false_per_10k=_central(1e4 * false / clear_rows),
        )


def _central(values: Floats) -> Interval:
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(known, (2.5, 97.5))
    return Interval(float(low), float(high))
