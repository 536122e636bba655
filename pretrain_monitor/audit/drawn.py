"""The curves that a report draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..viewing.finite import finite
from .courses import courses
from .fits import fit_power_law
from .learning import settled_blocks
from .material import LARGEST, Material
from .model import Curve

_COLUMNS = 1200
_MOST_COURSES = 40
_OTHERS = 6
_FEWEST = 50  # values of a signal that is worth a curve
_OF_PROBES = ("heldout/", "task/", "tokenization/", "probe/")
_SIGNALS = (("loss", "nats per token"), ("grad_norm", ""), ("learning_rate", ""))


def curves(material: Material) -> list[Curve]:
    """Of the training every spike, of the probes every round."""
    return [*_training(material), *_law(material), *_probes(material), *_others(material)]


def _training(material: Material) -> Iterator[Curve]:
    for name, unit in _SIGNALS:
        if name in material.content.series:
            yield _curve(material, name, name, unit)


def _curve(material: Material, name: str, group: str, unit: str) -> Curve:
    series = material.content.series[name]
    drawn = series.draw(int(series.steps[0]), int(series.steps[-1]), _COLUMNS)
    values = [finite(value) for value in np.clip(drawn.values, -LARGEST, LARGEST).tolist()]
    return Curve(signal=name, group=group, unit=unit, steps=drawn.steps.tolist(), values=values)


def _law(material: Material) -> Iterator[Curve]:
    """The power law of the first half: what the run has to be held against."""
    settled = settled_blocks(material)
    steps, values = settled.steps, settled.values
    half = len(steps) // 2
    law = fit_power_law(steps[:half], values[:half])
    if law is None:
        return
    at = np.unique(np.geomspace(max(steps[0], 1.0), max(material.last_step, 1), 200).astype(np.int64))
    yield Curve(
        signal="power law of the first half",
        group="loss",
        unit="nats per token",
        steps=at.tolist(),
        values=law.at(at.astype(np.float64)).tolist(),
        dashed=True,
    )


def _probes(material: Material) -> Iterator[Curve]:
    found = [one for one in courses(material) if not one.is_average][:_MOST_COURSES]
    table = {entry["metric"]: entry for entry in material.held_out["domains"]}
    for one in found:
        points = [point for point in table.get(one.metric, {"points": []})["points"] if point[1] is not None]
        has_band = any(point[2] is not None for point in points)
        yield Curve(
            signal=one.metric,
            group="knowledge" if one.is_task or one.is_better_up else "held_out",
            unit=str(table[one.metric]["unit"]),
            steps=[int(point[0]) for point in points],
            values=[point[1] for point in points],
            lower=[point[2] for point in points] if has_band else [],
            upper=[point[3] for point in points] if has_band else [],
            chance=one.chance,
        )


def _others(material: Material) -> Iterator[Curve]:
    known = {name for name, _ in _SIGNALS} | {"tokens_seen", "epoch"}
    left = [
        name
        for name, series in material.content.series.items()
        if name not in known and not name.startswith(_OF_PROBES) and len(series) > _FEWEST
    ]
    for name in left[:_OTHERS]:
        yield _curve(material, name, "other", "")
