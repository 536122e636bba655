"""A finding as a check makes it: criteria add limit, need and outcome later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .model import Area, Finding, Place, Table


def finding(
    check: str,
    title: str,
    value: float | None,
    *,
    unit: str = "",
    bound: Literal["at_most", "at_least"] = "at_most",
    missing: str = "",
    summary: str = "",
    evidence: Sequence[str] = (),
    table: Table | None = None,
    places: Sequence[Place] = (),
    advice: str = "",
) -> Finding:
    """Of the area that the first part of the name of its check is."""
    return Finding(
        check=check,
        area=Area(check.partition("/")[0]),
        title=title,
        value=value,
        unit=unit,
        bound=bound,
        missing=missing,
        summary=summary,
        evidence=list(evidence),
        table=table,
        places=list(places),
        advice=advice,
    )
