"""What the results say of each domain and task, model by model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..gaps import Gap, gap
from ..results import ModelResult, ProbeOutcome, Results
from ..retention import RetentionTracker

_TWO_SIDED_95 = 1.959963984540054
AVERAGES = ("micro", "macro")
_TEXT, _TASK = ("perplexity",), ("choice", "facts")


@dataclass(frozen=True, slots=True)
class Point:
    """One model's value.

    Args:
        model: number of it in the results.
        lower: of a 95 % interval, as ``upper``; the value itself where nobody knows.
    """

    model: int
    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A domain or a task over all models that were measured on it.

    Args:
        name: such as ``heldout/code`` or ``task/lambada``.
        unit: of the values.
        is_better_up: whether more is better, as for accuracy.
        chance: what guessing gives; None where there is no such thing.
        change: of the last model against the best one before or after it, the same documents paired; None with one.
        to_reference: gap of the last model to the reference; None without one.
        facts: other metrics of the last model, by the last part of their names.
        is_worse: whether the last model is worse than the best one by more than chance: for checkpoints of a run as
            during the run, where their own fluctuation is allowed for; for other models by the documents alone.
    """

    name: str
    unit: str
    points: Sequence[Point]
    is_better_up: bool = False
    chance: float | None = None
    change: Gap | None = None
    to_reference: Gap | None = None
    facts: Mapping[str, float] | None = None
    is_worse: bool = False

    @property
    def domain(self) -> str:
        """The name as people say it."""
        return self.name.partition("/")[2]

    @property
    def first(self) -> Point:
        return self.points[0]

    @property
    def last(self) -> Point:
        return self.points[-1]

    @property
    def best(self) -> Point:
        """Of equal ones the first; of those that are numbers, if any are."""
        known = [point for point in self.points if not math.isnan(point.value)] or list(self.points)
        return (max if self.is_better_up else min)(known, key=lambda point: point.value)


def text_curves(results: Results, reference: ModelResult | None = None) -> list[Curve]:
    """Bits per byte of each domain, or nats per token where bytes are unknown; the averages come last."""
    found = [_text_curve(results, name, reference) for name in _names(results, _TEXT, ("bits_per_byte", "loss"))]
    return sorted(found, key=lambda curve: curve.name.rpartition("/")[2] in AVERAGES)


def task_curves(results: Results) -> list[Curve]:
    """Accuracy of each task."""
    return [_task_curve(results, name) for name in _names(results, _TASK, ("accuracy",))]


def answer_curves(results: Results, reference: ModelResult | None = None) -> list[Curve]:
    """Bits per byte of the right answers of each task: they move long before accuracy leaves chance."""
    names = _names(results, _TASK, ("gold_bits_per_byte",))
    return [_curve(results, name, "gold_bits_per_byte", "bits per byte", reference) for name in names]


def outcomes(results: Results, *kinds: str) -> list[tuple[ModelResult, ProbeOutcome]]:
    """All measurements of some kinds that gave numbers."""
    return [
        (model, probe) for model in results.models for probe in model.probes if probe.kind in kinds and probe.metrics
    ]


def labels(results: Results) -> list[str]:
    """What each model is called where there is little room: its step if all have different ones, else its name."""
    steps = [model.step for model in results.models]
    if None not in steps and len(set(steps)) == len(steps):
        return [f"{step:,}" for step in steps]
    return [model.name for model in results.models]


def are_steps(results: Results) -> bool:
    """Whether the models are one course: each has a step, and a later one than the model before."""
    steps = [model.step for model in results.models if model.step is not None]
    return len(steps) == len(results.models) > 1 and all(a < b for a, b in pairwise(steps))


def _losses(results: Results) -> frozenset[str]:
    """Domains that the last checkpoint of a run has lost."""
    tracker = RetentionTracker()
    lost: dict[str, bool] = {}
    for model in results.measured:
        for change in tracker.update(model.step or 0, model.scores):
            lost[change.domain] = change.is_loss
    return frozenset(domain for domain, is_loss in lost.items() if is_loss)


def _names(results: Results, kinds: tuple[str, ...], metrics: tuple[str, ...]) -> list[str]:
    """Of domains that any model was measured on, in the order of the probe file."""
    names: dict[str, None] = {}
    for _, probe in outcomes(results, *kinds):
        for metric in probe.metrics:
            name, _, last = metric.rpartition("/")
            if last in metrics:
                names[name] = None
    return list(names)


def _text_curve(results: Results, name: str, reference: ModelResult | None) -> Curve:
    metrics = [model.metrics for model in results.models if f"{name}/loss" in model.metrics]
    has_bytes = all(f"{name}/bits_per_byte" in found for found in metrics)
    if has_bytes:
        return _curve(results, name, "bits_per_byte", "bits per byte", reference)
    return _curve(results, name, "loss", "nats per token", reference)


def _curve(results: Results, name: str, metric: str, unit: str, reference: ModelResult | None) -> Curve:
    points, scores, facts = [], [], {}
    for number, model in enumerate(results.models):
        value = model.metrics.get(f"{name}/{metric}")
        if value is None:
            continue
        reach = _TWO_SIDED_95 * model.metrics.get(f"{name}/{metric}_se", 0.0)
        points.append(Point(number, value, value - reach, value + reach))
        scores.append(model.scores_of(name))
        facts = _facts(model, name)
    curve = Curve(name, unit, points, facts=facts)
    last = scores[-1]
    change = to_reference = None
    if last is not None and len(points) > 1:
        best = scores[points.index(curve.best)]
        change = None if best is None else gap(best, last, has_one_source=True)
    if last is not None and reference is not None and (other := reference.scores_of(name)) is not None:
        to_reference = gap(other, last)
    is_worse = change is not None and change.is_clear and change.value > 0
    if is_worse and are_steps(results):
        is_worse = name in _losses(results)
    return Curve(name, unit, points, facts=facts, change=change, to_reference=to_reference, is_worse=is_worse)


def _task_curve(results: Results, name: str) -> Curve:
    points, facts = [], {}
    for number, model in enumerate(results.models):
        value = model.metrics.get(f"{name}/accuracy")
        if value is not None:
            facts = _facts(model, name)
            points.append(Point(number, value, facts.get("accuracy_lower", value), facts.get("accuracy_upper", value)))
    chance = facts.get("chance")
    return Curve(name, "share of right answers", points, is_better_up=True, chance=chance, facts=facts)


def _facts(model: ModelResult, name: str) -> dict[str, float]:
    return {
        metric.removeprefix(f"{name}/"): value
        for metric, value in model.metrics.items()
        if metric.startswith(f"{name}/") and "/" not in metric.removeprefix(f"{name}/")
    }
