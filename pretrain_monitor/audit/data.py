"""What speaks for the data as the cause."""

from __future__ import annotations

from ..telemetry import Kind
from ..viewing.coincidence import RunIncidents, coincidences
from .material import Material
from .model import Area, Finding, Place, Table
from .words import counted

_THIS, _OTHER = "this run", "the other run"
_SHARED = "Incidents shared with another run"


def findings(material: Material, against: Material | None) -> list[Finding]:
    return [_bad_batches(material), _same_step(material, against)]


def _bad_batches(material: Material) -> Finding:
    found = [one for one in material.incidents if one.kind is Kind.BAD_BATCH]
    rows = len(material.loss)
    rate = 1e4 * len(found) / max(rows, 1)
    return _finding(
        "bad_batches",
        "Single bad batches",
        rate if rows else None,
        unit="per 10,000 samples",
        missing="" if rows else "the loss of single steps",
        summary=f"{counted(len(found), 'single bad batch')} in {rows:,} samples, {rate:.1f} per 10,000" if rows else "",
        places=[
            Place(signal=one.signals[0], first_step=one.onset_step, last_step=one.peak_step, note="bad batch")
            for one in found[:20]
        ],
        advice="Look at the documents of these steps: repeated characters, other languages, broken markup.",
    )


def _same_step(material: Material, against: Material | None) -> Finding:
    """Incidents that another run on the same data has at the same step."""
    if against is None:
        return _finding(
            "same_step", "Incidents shared with another run", None, missing="another run on the same data (--against)"
        )
    runs = {
        _THIS: RunIncidents(material.incidents, material.facts.samples),
        _OTHER: RunIncidents(against.incidents, against.facts.samples),
    }
    found = [one for one in coincidences(runs) if one.is_likely_data]
    ours = {one.id: one for one in material.incidents}
    theirs = {one.id: one for one in against.incidents}
    rows = [
        [
            f"{one.step:,}",
            ours[one.incidents[_THIS]].kind.value,
            theirs[one.incidents[_OTHER]].kind.value,
            f"{one.chance:.2g}",
        ]
        for one in found[:40]
    ]
    total = len(material.incidents)
    return _finding(
        "same_step",
        _SHARED,
        float(len(found)),
        unit="incidents",
        summary=f"{len(found)} of {counted(total, 'incident')} begin at the same step in the other run: the data did it"
        if found
        else f"none of {counted(total, 'incident')} begins where one of the other run does",
        table=Table(titles=["step", _THIS, _OTHER, "by chance"], rows=rows) if rows else None,
        places=[Place(signal="loss", first_step=one.step, last_step=one.step) for one in found[:20]],
        advice="Take the batches of these steps out of the data; neither rate nor optimizer is to blame for them.",
    )


def _finding(check: str, title: str, value: float | None, **rest: object) -> Finding:
    return Finding.model_validate({"check": f"data/{check}", "area": Area.DATA, "title": title, "value": value, **rest})
