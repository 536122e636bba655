"""Rules at the same false alarms: only then do their recalls compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

from .curves import Adjustable, Baseline, Curve
from .measure import Measured, measure


def is_adjustable(detector: Baseline) -> TypeGuard[Adjustable]:
    return hasattr(detector, "limits") and hasattr(detector, "with_limit")


def matched(
    detectors: Sequence[Baseline],
    curves: Sequence[Curve],
    false_per_10k: float,
    *,
    source_of: Callable[[Curve], str] = lambda curve: curve.source,
    jobs: int = 1,
) -> list[Measured]:
    """Each adjustable detector at the limit where its false episodes come closest to a rate without exceeding it.

    The limit is chosen on the very curves it is then scored on, to everybody's advantage; of limits with the same rate
    it is the most sensitive. It is looked for from the least sensitive one on, and the search ends where the rate is
    first exceeded: a rule so sensitive that it never stops firing raises a single episode per curve, and must not pass
    for a quiet one. Detectors that exceed the rate even at their least sensitive limit are left out.
    """
    best: dict[str, Measured] = {}
    waiting = [detector for detector in detectors if is_adjustable(detector)]
    rank = 0
    while waiting := [detector for detector in waiting if rank < len(detector.limits)]:
        limits = [detector.limits[-1 - rank] for detector in waiting]
        tried = measure(
            [detector.with_limit(limit) for detector, limit in zip(waiting, limits, strict=True)],
            curves,
            source_of=source_of,
            jobs=jobs,
        )
        quiet = []
        for detector, limit, one in zip(waiting, limits, tried, strict=True):
            rate = one.total.lenient.per_10k
            if rate <= false_per_10k:
                quiet.append(detector)
                if detector.name not in best or rate >= best[detector.name].total.lenient.per_10k:
                    best[detector.name] = Measured(detector, f"limit {limit:g}", one.sources, one.scores, one.cpu_s)
        waiting = quiet
        rank += 1
    return [best[detector.name] for detector in detectors if detector.name in best]
