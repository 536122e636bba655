"""An incident under way -> what the world is told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..telemetry import Incident, Kind, Status, spell_nonfinite
from .bank import SignalBank
from .messages import advise, describe
from .open_incident import OpenIncident


def told(bank: SignalBank, step: int, incident: OpenIncident, status: Status) -> Incident:
    """The incident as it stands at ``step``, with numbers, evidence and words."""
    lead = incident.lead
    baseline = incident.baselines.get(lead)
    peak, peak_step = incident.peaks.get(lead, (None, incident.opened_step))
    expected = score = relative = None
    if baseline is not None:
        row = float(incident.onset_row)
        expected = bank.from_scale(lead, baseline.expected(row))
        if peak is not None:
            score = baseline.residual(row, float(bank.to_scale(lead, peak)))
            relative = peak / expected - 1 if 0 < expected < peak else None
    plateau = incident.facts.get("plateau")
    if incident.kind is Kind.PLATEAU and plateau is not None:
        expected, peak, score = plateau["expected"], plateau["level"], None
        relative = peak / expected - 1 if 0 < expected < peak else None
    first = incident.facts.get("first_nonfinite")
    if incident.kind is Kind.NONFINITE and first is not None:
        peak, peak_step, score, relative = first["value"], first["step"], None, None
    end_step = None
    if status is Status.RECOVERED and incident.end_row is not None:
        end_step = bank.history.step_of(incident.end_row)
    if incident.kind is Kind.NONFINITE and status is Status.RECOVERED:
        end_step = bank.history.step_of(incident.facts["last_nonfinite_row"] + 1)
    evidence = _evidence(bank, step, incident, end_step)
    result = Incident(
        id=incident.id,
        kind=incident.kind,
        severity=incident.severity,
        status=status,
        signals=(lead, *(name for name in incident.signals if name != lead)),
        # Told by the learning rate at first, an incident began with that, wherever the loss followed.
        onset_step=min(incident.onset_step, incident.detected_step),
        detected_step=incident.detected_step,
        peak_step=peak_step,
        end_step=end_step,
        expected=expected,
        peak=peak,
        score=score,
        relative_increase=relative,
        excess_loss=incident.excess_loss if "loss" in incident.baselines and plateau is None else None,
        evidence=evidence,
    )
    return replace(result, message=describe(result), advice=advise(result.kind, evidence))


def _evidence(bank: SignalBank, step: int, incident: OpenIncident, end_step: int | None) -> dict[str, Any]:
    evidence: dict[str, Any] = {
        "charts": {
            name: {str(chart): round(score, 3) for chart, score in charts.items()}
            for name, charts in incident.charts.items()
        },
        "opened_step": incident.opened_step,
        "duration_steps": (end_step or step) - incident.onset_step,
    }
    if end_step is not None:
        evidence["steps_to_recovery"] = end_step - incident.onset_step
    if incident.parts:
        evidence["segments"] = [list(part) for part in incident.parts]
    norm = incident.baselines.get("grad_norm")
    if norm is not None and "grad_norm" in incident.peaks:
        usual = bank.from_scale("grad_norm", norm.expected(float(incident.onset_row)))
        evidence["grad_norm_ratio"] = round(incident.peaks["grad_norm"][0] / usual, 3) if usual > 0 else None
    for name in ("learning_rate", "first_nonfinite", "updates_left_out", "plateau", "what", "changes", "lead_steps"):
        if incident.facts.get(name):
            evidence[name] = incident.facts[name]
    # What comes back from the log must equal what was told live.
    spelled: dict[str, Any] = spell_nonfinite(evidence)
    return spelled
