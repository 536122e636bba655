"""What speaks for the data as the cause."""

from __future__ import annotations

from ..telemetry import Kind
from ..viewing.coincidence import RunIncidents, coincidences
from .found import finding
from .material import Material
from .model import Finding, Place, Table
from .outliers import lone_values
from .words import counted

_THIS, _OTHER = "this run", "the other run"
_BEGINNING, _FEWEST_ROWS = 100, 500
_BY_CHANCE = 0.05
_SHARED = "Incidents shared with another run"


def findings(material: Material, against: Material | None) -> list[Finding]:
    return [_bad_batches(material), _same_step(material, against)]


def _bad_batches(material: Material) -> Finding:
    """How often a single loss is far above those on both sides, whatever the detector made of it."""
    loss = material.loss.part(material.first_step + _BEGINNING * material.interval, material.last_step)
    if len(loss) < _FEWEST_ROWS:
        return finding(
            "data/bad_batches", "Single bad batches", None, missing=f"the loss of {_FEWEST_ROWS} steps or more"
        )
    places = lone_values(loss.values)
    rate = 1e4 * len(places) / len(loss)
    told = sum(one.kind is Kind.BAD_BATCH for one in material.incidents)
    return finding(
        "data/bad_batches",
        "Single bad batches",
        rate,
        unit="per 10,000 samples",
        summary=f"{len(places):,} of {len(loss):,} losses stand alone far above their surroundings, "
        f"{rate:.1f} per 10,000",
        evidence=[f"the detector told {counted(told, 'single bad batch')} during the run"],
        places=[
            Place(signal="loss", first_step=int(loss.steps[at]), last_step=int(loss.steps[at]), note="alone")
            for at in places[:20].tolist()
        ],
        advice="Look at the documents of these steps: repeated characters, other languages, broken markup.",
    )


def _same_step(material: Material, against: Material | None) -> Finding:
    """Incidents that another run on the same data has at the same step."""
    if against is None:
        return finding(
            "data/same_step",
            "Incidents shared with another run",
            None,
            missing="another run on the same data (--against)",
        )
    runs = {
        _THIS: RunIncidents(material.incidents, material.facts.samples),
        _OTHER: RunIncidents(against.incidents, against.facts.samples),
    }
    # As many are looked at as there are incidents: one in twenty would meet by chance.
    found = [one for one in coincidences(runs) if one.chance * len(material.incidents) < _BY_CHANCE]
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
    return finding(
        "data/same_step",
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
