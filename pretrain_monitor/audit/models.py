"""Models at hand: what probes find of them, as rounds of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..detection.retention import KEY
from ..printable import shown_path
from ..probes.base import ProbeError
from ..probes.results import FORMAT, ModelResult, Results, read_results
from ..telemetry import Sample
from .material import Material

DEFAULT_PROBES = "quick"
_REASON = "audit"


def is_results_file(path: Path) -> bool:
    """Whether ``pretrain-monitor probe --json`` wrote this."""
    try:
        if path.suffix.lower() != ".json" or not path.is_file():
            return False
        with path.open(encoding="utf-8") as file:
            return json.dumps(FORMAT) in file.read(200)
    except (OSError, UnicodeDecodeError):
        return False


def with_model(material: Material, model: Path, probes: str | Path | None) -> Material:
    """A run with one more round at its end: that of the model at hand.

    Raises:
        ProbeError: the model cannot be measured.
    """
    result = _last(read_results(model) if is_results_file(model) else _measured(model, probes), model)
    step = max(material.last_step, result.step or 0)
    content = material.content
    content.add_sample(_sample(result, step, {}))
    notes = [*material.facts.notes, f"probes of {result.name} are taken as those of step {step:,}"]
    notes += [f"{result.name}: {problem}" for problem in result.problems]
    return replace(
        material,
        facts=material.facts.model_copy(update={"notes": notes}),
        held_out=content.domains.table(material.incidents, content.series),
        _signals={},
    )


def rounds_of(path: Path) -> Iterator[Sample]:
    """The models of a file of results, as rounds of one run: each at its step, or counted where nobody knows that.

    Raises:
        ProbeError: it cannot be read, or no model was measured.
    """
    from ..probes.retention import RetentionTracker

    results = read_results(path)
    if not results.measured:
        raise ProbeError(f"results {shown_path(path)}: no model was measured")
    tracker = RetentionTracker()
    models = results.measured
    has_steps = all(model.step is not None for model in models) and len({model.step for model in models}) == len(models)
    order = sorted(models, key=lambda model: model.step or 0) if has_steps else models
    for number, model in enumerate(order, 1):
        step = model.step if has_steps and model.step is not None else number
        changes = [change.to_json() for change in tracker.update(step, model.scores, None)]
        yield _sample(model, step, {KEY: changes} if changes else {})


def _sample(model: ModelResult, step: int, meta: dict[str, Any]) -> Sample:
    each = {probe.name: {"seconds": probe.seconds, "notes": list(probe.notes)} for probe in model.probes}
    return Sample(step, model.metrics, None, None, {"probes": {"reason": _REASON, "each": each}, **meta})


def _last(results: Results, path: Path) -> ModelResult:
    if not results.measured:
        problems = [problem for model in results.models for problem in model.problems]
        raise ProbeError(problems[0] if problems else f"model {shown_path(path)}: nothing could be measured")
    return results.measured[-1]


def _measured(model: Path, probes: str | Path | None) -> Results:
    from ..probes.command import measure_models

    return measure_models([model], str(probes) if probes is not None else DEFAULT_PROBES)
