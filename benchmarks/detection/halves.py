"""Two halves of the sources of some curves: what was tuned with one in view is checked on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .curves import Curve, Verdict


def halves(curves: Sequence[Curve], source_of: Callable[[Curve], str]) -> tuple[list[str], list[str]]:
    """Names of the sources, dealt out whole: curves of one source are near-copies of each other and must not be parted.

    Sources with events that must be found go, largest first, to the half with fewer of them so far; the others to the
    half with fewer rows. Where one source has most of the events, as in a corpus of few repositories, the halves stay
    uneven: it is then one source against the rest. A data set of one source has an empty second half.
    """
    musts: dict[str, int] = {}
    rows: dict[str, int] = {}
    for curve in curves:
        source = source_of(curve)
        musts[source] = musts.get(source, 0) + sum(event.verdict is Verdict.MUST for event in curve.events)
        rows[source] = rows.get(source, 0) + curve.rows
    dealt: tuple[list[str], list[str]] = ([], [])
    for source in sorted(musts, key=lambda source: (-musts[source], -rows[source], source)):
        weights = musts if musts[source] else rows
        min(dealt, key=lambda half: sum(weights[name] for name in half)).append(source)
    return dealt
