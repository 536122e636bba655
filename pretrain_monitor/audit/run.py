"""Audit a run: read it, measure it, judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..versions import versions_of
from . import coverage, data, evidence, gradients, held_out, knowledge, schedule, stability, tokenization
from .comparison import against_other
from .criteria import Criteria, load_criteria
from .drawn import curves
from .gathering import gather
from .material import Material
from .method import METHOD
from .model import Area, Audit, Finding
from .models import with_model
from .readiness import judged, next_steps, verdict

_PACKAGES = ("pretrain-monitor", "numpy", "pydantic", "torch", "transformers")


def audit_run(
    path: str | Path,
    *,
    model: str | Path | None = None,
    against: str | Path | None = None,
    criteria: Criteria | Mapping[str, Any] | str | Path | None = None,
    probes: str | Path | None = None,
    pattern: str | None = None,
) -> Audit:
    """Is the model of this run ready, and on what evidence?

    >>> audit = audit_run("runs/x")                       # doctest: +SKIP
    >>> audit.verdict, audit.reasons                      # doctest: +SKIP

    Args:
        path: anything that ``read_run`` reads, or a file that ``pretrain-monitor probe --json`` wrote.
        model: the model at hand, for held-out texts and tasks at the end: a directory, a .gguf file, or results of
            ``pretrain-monitor probe --json``.
        against: another run, log or file of results to compare with.
        criteria: a preset (research, production, continue-pretraining, checkpoint), a YAML file, or a mapping; None:
            research.
        pattern: for the lines of a text log, as ``read_run`` takes it.
        probes: what to measure of a model that is given as such: a probe file or the name of a preset; None: quick.

    Raises:
        LogError: a log that cannot be read.
        ConfigError: criteria that cannot be used.
        ProbeError: a model that cannot be measured.
    """
    limits = load_criteria(criteria)
    material = gather(Path(path), pattern)
    if model is not None:
        material = with_model(material, Path(model), probes)
    if material.max_grad_norm is None and limits.max_grad_norm is not None:
        material = replace(material, max_grad_norm=limits.max_grad_norm)
    return audit_of(material, None if against is None else gather(Path(against), pattern), limits)


def audit_of(material: Material, other: Material | None, limits: Criteria) -> Audit:
    """The same of what has been read."""
    found = judged(measured(material, other), limits)
    outcome, reasons = verdict(found)
    return Audit(
        run=material.facts,
        against=None if other is None else other.facts,
        criteria=limits.name or "criteria",
        verdict=outcome,
        reasons=reasons,
        next_steps=next_steps(found),
        findings=found,
        incidents=[incident.to_json() for incident in material.incidents],
        method=METHOD,
        versions=versions_of(_PACKAGES),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        curves=curves(material),
    )


def measured(material: Material, other: Material | None = None) -> list[Finding]:
    """Every finding, in the order of the areas, without limits."""
    found = [
        *evidence.findings(material),
        *stability.findings(material),
        *schedule.findings(material),
        *gradients.findings(material),
        *held_out.findings(material),
        against_other(material, other),
        *knowledge.findings(material),
        *tokenization.findings(material),
        *coverage.findings(material),
        *data.findings(material, other),
    ]
    order = list(Area)
    return sorted(found, key=lambda one: order.index(one.area))
