"""A run against another, or a checkpoint against its predecessor: where is it worse?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .courses import Course, courses
from .fits import trimmed
from .found import finding
from .material import Material
from .model import Finding, Place, Table
from .words import counted, number, percent

_LAST = 0.02  # of the shorter run, over which training losses are compared


def against_other(material: Material, other: Material | None) -> Finding:
    """The domain or task that is furthest behind the other model, as a share of it."""
    if other is None:
        return _finding(None, missing="another run, or a checkpoint before this one (--against)")
    theirs = {(one.domain, one.metric.rpartition("/")[2]): one for one in courses(other)}
    rows: list[list[str]] = []
    marked: list[int] = []
    behind: dict[str, float] = {}
    for one in courses(material):
        their = theirs.get((one.domain, one.metric.rpartition("/")[2]))
        if their is None or their.newest <= 0 or one.is_average:
            continue
        share, is_clear = _behind(one, their)
        behind[one.metric] = share if is_clear else 0.0
        if is_clear and share > 0:
            marked.append(len(rows))
        rows.append([one.name, number(one.newest), number(their.newest), f"{share:+.2%}", "yes" if is_clear else "no"])
    rows += _training(material, other)
    if not behind:
        return _finding(
            None,
            missing="domains or tasks that both were measured on",
            table=Table(titles=_TITLES, rows=rows) if rows else None,
        )
    worst = max(behind, key=behind.__getitem__)
    count = sum(value > 0 for value in behind.values())
    return _finding(
        100.0 * max(behind[worst], 0.0),
        summary=f"clearly worse on {count} of {counted(len(behind), 'domain')}, most on {worst.rpartition('/')[0]}: "
        f"{percent(behind[worst])}"
        if count
        else f"on none of {counted(len(behind), 'domain')} clearly worse",
        table=Table(titles=_TITLES, rows=rows, marked=marked),
        places=[Place(signal=worst, first_step=material.last_step, last_step=material.last_step)] if count else [],
    )


_TITLES = ["", "this run", "the other", "worse by", "clearly"]


def _behind(one: Course, their: Course) -> tuple[float, bool]:
    """How much worse, as a share, above 0 if it is; and whether the intervals lie apart."""
    share = (one.newest - their.newest) / their.newest
    share = -share if one.is_better_up else share
    if None in (one.lower, one.upper, their.lower, their.upper):
        return share, abs(share) > 0.01
    half = math.hypot((one.upper or 0.0) - (one.lower or 0.0), (their.upper or 0.0) - (their.lower or 0.0)) / 2
    return share, abs(one.newest - their.newest) > half


def _training(material: Material, other: Material) -> list[list[str]]:
    """The training losses at the same step, for the table: of other data they say nothing."""
    last = min(material.last_step, other.last_step)
    reach = max(_LAST * last, 50.0)
    ours, theirs = (trimmed(one.loss.part(last - reach, last).values) for one in (material, other))
    if not (np.isfinite(ours) and np.isfinite(theirs)) or theirs <= 0:
        return []
    return [[f"training loss at step {last:,}", number(ours), number(theirs), f"{ours / theirs - 1:+.2%}", ""]]


def _finding(
    value: float | None,
    *,
    missing: str = "",
    summary: str = "",
    table: Table | None = None,
    places: Sequence[Place] = (),
) -> Finding:
    return finding(
        "held_out/against",
        "Against the other run",
        value,
        unit="%",
        missing=missing,
        summary=summary,
        table=table,
        places=places,
        advice="Find out what the other run had in its data, or go back to it.",
    )
