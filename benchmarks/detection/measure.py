"""Detectors on curves: scores, and the processor time they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from .bootstrap import Intervals, intervals
from .curves import Baseline, Curve
from .parallel import spread
from .scoring import Score, score, total


@dataclass(frozen=True, slots=True)
class Measured:
    """One detector with one setting on one data set.

    Args:
        sources: of each curve, in the order of ``scores``.
        setting: how its limit was chosen.
        cpu_s: processor time of its process, likewise.
    """

    detector: Baseline
    setting: str
    sources: tuple[str, ...]
    scores: tuple[Score, ...]
    cpu_s: tuple[float, ...]

    @property
    def total(self) -> Score:
        return total(self.scores)

    @property
    def intervals(self) -> Intervals:
        by_source: dict[str, Score] = {}
        for source, one in zip(self.sources, self.scores, strict=True):
            by_source[source] = by_source.get(source, Score()) + one
        return intervals(by_source)

    @property
    def us_per_row(self) -> float:
        return 1e6 * sum(self.cpu_s) / self.total.rows

    def of(self, sources: Collection[str]) -> Measured:
        """The part of it that comes from some of the sources."""
        kept = [k for k, source in enumerate(self.sources) if source in sources]
        return replace(
            self,
            sources=tuple(self.sources[k] for k in kept),
            scores=tuple(self.scores[k] for k in kept),
            cpu_s=tuple(self.cpu_s[k] for k in kept),
        )


def measure(
    detectors: Sequence[Baseline],
    curves: Sequence[Curve],
    *,
    setting: str = "default",
    source_of: Callable[[Curve], str] = lambda curve: curve.source,
    jobs: int = 1,
) -> list[Measured]:
    """Every detector on every curve.

    Raises:
        RuntimeError: a detector failed on a curve; both are named.
    """
    tasks = [(detector, curve) for detector in detectors for curve in curves]
    results = spread(_one, tasks, jobs)
    measured = []
    for k, detector in enumerate(detectors):
        own = results[k * len(curves) : (k + 1) * len(curves)]
        scores, seconds = zip(*own, strict=True)
        sources = tuple(source_of(curve) for curve in curves)
        measured.append(Measured(detector, setting, sources, scores, seconds))
    return measured


def _one(task: tuple[Baseline, Curve]) -> tuple[Score, float]:
    detector, curve = task
    began = time.process_time()
    try:
        findings = detector.detect(curve)
    except Exception as error:  # whatever a rival raises: a long measurement that ends has to say where
        raise RuntimeError(f"{detector.name} failed on {curve.name}: {type(error).__name__}: {error}") from error
    return score(curve, findings), time.process_time() - began
