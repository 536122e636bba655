"""What probes measured of each domain over the rounds of a run, as checks need it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..viewing.series import Floats
from .material import Material

_AVERAGES = ("micro", "macro")


@dataclass(frozen=True, slots=True)
class Course:
    """One metric of one domain.

    Args:
        domain: such as ``heldout/code`` or ``task/science/arc_easy``; for a log of others the name of the signal.
        values: one a round, at ``steps``.
        lower: of a 95 % interval for the newest value, as is ``upper``; None if there is none.
        change: newest against best over the same documents, as ``DomainResults`` tells it; None if it was not tested.
    """

    domain: str
    metric: str
    is_better_up: bool
    is_average: bool
    steps: Floats
    values: Floats
    lower: float | None
    upper: float | None
    chance: float | None
    change: Mapping[str, Any] | None
    flag: str | None

    @property
    def newest(self) -> float:
        return float(self.values[-1])

    @property
    def name(self) -> str:
        return short(self.domain)

    @property
    def is_task(self) -> bool:
        return self.domain.startswith("task/")


def courses(material: Material) -> list[Course]:
    """Of domains and averages, what could not be measured left out."""
    return list(_courses(material.held_out))


def texts(material: Material) -> list[Course]:
    """Held-out texts, domains only."""
    return [one for one in courses(material) if not one.is_task and not one.is_better_up and not one.is_average]


def tasks(material: Material) -> list[Course]:
    return [one for one in courses(material) if one.is_task and not one.is_average]


def _courses(table: Mapping[str, Any]) -> Iterator[Course]:
    for entry in (*table["domains"], *table["averages"]):
        points = [(point[0], point[1]) for point in entry["points"] if point[1] is not None]
        if not entry["probe"]:
            # Some logs repeat the newest evaluation in every row until there is another.
            points = [point for at, point in enumerate(points) if at == 0 or point[1] != points[at - 1][1]]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        newest = entry["newest"]
        domain = str(entry["metric"]).rpartition("/")[0] if entry["probe"] else str(entry["name"])
        yield Course(
            domain=domain,
            metric=str(entry["metric"]),
            is_better_up=bool(entry["is_better_up"]),
            is_average=bool(entry["is_average"]) or domain.rpartition("/")[2] in _AVERAGES,
            steps=np.array(steps, dtype=np.float64),
            values=np.array(values, dtype=np.float64),
            lower=_known(newest["lower"]),
            upper=_known(newest["upper"]),
            chance=_known(entry["chance"]),
            change=entry["change"],
            flag=entry["flag"],
        )


def short(domain: str) -> str:
    """A domain without the kind of probe in front.

    >>> short("heldout/code"), short("eval_loss")
    ('code', 'eval_loss')
    """
    return domain.partition("/")[2] or domain


def last_values(material: Material, suffix: str) -> dict[str, float]:
    """By domain the newest finite value of every signal that ends so.

    >>> # last_values(material, "/coverage") -> {"heldout/code": 1.31}
    """
    found = {}
    for name in material.content.series:
        if name.endswith(suffix) and len(signal := material.signal(name)):
            found[name.removesuffix(suffix)] = float(signal.values[-1])
    return found


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
