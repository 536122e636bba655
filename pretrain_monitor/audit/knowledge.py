"""What the model knows and can work out, and whether it has forgotten any of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..telemetry import Incident, Kind, Status
from .courses import Course, last_values, tasks
from .found import finding
from .material import Material
from .model import Finding, Place, Table
from .words import counted, percent

_NO_TASKS = "rounds of tasks (ChoiceProbe, FactProbe, or pretrain-monitor audit --model)"
# Tasks that a model does not get right by remembering. What is not among them is counted as recall.
_REASONING = re.compile(
    r"reason|logic|pattern|hellaswag|winogrande|piqa|siqa|socialiqa|copa|arc_challenge|gsm|math|minerva|bbh|drop|boolq|"
    r"humaneval|mbpp|codex",
    re.IGNORECASE,
)


def findings(material: Material) -> list[Finding]:
    scored = [one for one in tasks(material) if one.metric.endswith("/accuracy")]
    return [
        _chance(material, scored),
        _retention(material),
        _ability("knowledge/recall", "Recall", [one for one in scored if not _REASONING.search(one.domain)]),
        _ability("knowledge/reasoning", "Reasoning", [one for one in scored if _REASONING.search(one.domain)]),
    ]


def _chance(material: Material, scored: list[Course]) -> Finding:
    """Tasks whose accuracy may as well be guessing."""
    chances = last_values(material, "/chance_p")
    known = [one for one in scored if one.chance is not None]
    guessed = [one for one in known if not _is_above_chance(one, chances.get(one.domain))]
    rows = [
        [
            one.name,
            percent(one.newest),
            "-" if one.lower is None or one.upper is None else f"{percent(one.lower)} to {percent(one.upper)}",
            percent(one.chance or 0.0),
            "no" if one in guessed else "yes",
        ]
        for one in known
    ]
    names = ", ".join(one.name for one in guessed[:3])
    return finding(
        "knowledge/chance",
        "Tasks at chance",
        float(len(guessed)) if known else None,
        unit="tasks",
        missing="" if known else _NO_TASKS,
        summary=f"{len(guessed)} of {counted(len(known), 'task')} cannot be told from guessing: {names}"
        if guessed
        else f"all of {counted(len(known), 'task')} are above chance"
        if known
        else "",
        table=Table(
            titles=["task", "accuracy", "95 %", "chance", "above chance"],
            rows=rows,
            marked=[at for at, one in enumerate(known) if one in guessed],
        )
        if rows
        else None,
        places=[
            Place(signal=one.metric, first_step=int(one.steps[0]), last_step=int(one.steps[-1])) for one in guessed
        ],
        advice="Where bits per byte of the right answers still fall it is too early; else the data lack the domain.",
    )


def _is_above_chance(one: Course, p: float | None) -> bool:
    if p is not None:
        return p < 0.05
    return one.lower is not None and one.chance is not None and one.lower > one.chance


def _retention(material: Material) -> Finding:
    """Domains and tasks that are worse at the end than in their best round, beyond what the run does by itself."""
    compared = _tested(material)
    told = [one for one in material.incidents if one.kind is Kind.RETENTION_LOSS]
    lost: dict[str, Incident] = {}
    for incident in told:
        if incident.status is Status.RECOVERED:
            continue
        domains = incident.evidence.get("domains")
        for name, one in domains.items() if isinstance(domains, dict) else ():
            if not (isinstance(one, dict) and one.get("status") == "back"):
                lost[str(name)] = incident
    rows = []
    for name, incident in lost.items():
        domain = incident.evidence["domains"][name]
        relative = domain.get("relative")
        share = f"{relative:+.1%}" if isinstance(relative, float) else "-"
        rows.append([name, share, f"{incident.onset_step:,}", incident.severity.value])
    has_any = bool(compared) and any(not one["change"]["is_first"] for one in compared)
    summary = f"nothing is clearly worse than in its best round ({counted(len(compared), 'domain')} compared)"
    if lost:
        names = ", ".join(list(lost)[:3])
        summary = f"{counted(len(lost), 'domain')} forgotten and not learned again: {names}"
    elif told:
        summary = f"{counted(len(told), 'time')} something was forgotten, and learned again"
    return finding(
        "knowledge/retention",
        "Retention",
        float(len(lost)) if has_any or lost else None,
        unit="domains",
        missing="" if has_any or lost else "several rounds of held-out texts during the run (PerplexityProbe)",
        summary=summary if has_any or lost else "",
        table=Table(titles=["domain", "worse by", "since step", "severity"], rows=rows, marked=list(range(len(rows))))
        if rows
        else None,
        places=[
            Place(signal=name, first_step=one.onset_step, last_step=material.last_step) for name, one in lost.items()
        ],
        advice=next(iter(lost.values())).advice if lost else "",
    )


def _tested(material: Material) -> list[Mapping[str, Any]]:
    """Domains and averages whose newest round was held against the best one over the same documents."""
    entries = (*material.held_out["domains"], *material.held_out["averages"])
    return [one for one in entries if one["change"] and one["change"]["lower"] is not None]


def _ability(check: str, title: str, scored: list[Course]) -> Finding:
    """Mean of how far accuracies have come from chance towards one."""
    come = [(one.newest - (one.chance or 0.0)) / (1 - (one.chance or 0.0)) for one in scored if (one.chance or 0.0) < 1]
    rows = [[one.name, percent(one.newest), percent(one.chance or 0.0)] for one in scored]
    return finding(
        check,
        title,
        100.0 * float(np.mean(come)) if come else None,
        unit="%",
        bound="at_least",
        missing="" if come else f"tasks that ask for {title.lower()}",
        summary=f"{percent(float(np.mean(come)))} of the way from chance to right, over {counted(len(come), 'task')}"
        if come
        else "",
        table=Table(titles=["task", "accuracy", "chance"], rows=rows) if rows else None,
        advice="Weigh the domains of these tasks more in the data.",
    )
