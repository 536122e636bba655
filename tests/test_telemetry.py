from __future__ import annotations

import json
import math

import pytest

from pretrain_monitor import Event, Incident, Kind, Sample, Severity, Status
from pretrain_monitor.telemetry import Change


def an_incident(**changes: object) -> Incident:
    fields: dict[str, object] = {
        "id": "loss-12", "kind": Kind.SPIKE, "severity": Severity.WARNING, "status": Status.OPEN, "signals": ("loss",),
        "onset_step": 10, "detected_step": 12, "peak_step": 13, "end_step": None, "expected": 3.0, "peak": 4.5,
        "score": 20.0, "relative_increase": 0.5, "excess_loss": 3.0, "evidence": {"a": 1}, "message": "", "advice": "",
    }  # fmt: skip
    return Incident(**{**fields, **changes})  # type: ignore[arg-type]


def test_severities_compare_by_how_bad_they_are_and_not_by_their_names():
    assert Severity.INFO < Severity.WARNING < Severity.CRITICAL
    assert max(Severity.INFO, Severity.CRITICAL, Severity.WARNING) is Severity.CRITICAL
    assert [s.is_alert for s in Severity] == [False, True, True]


@pytest.mark.parametrize("value", [1.5, math.nan, math.inf, -math.inf])
def test_a_sample_survives_json_whatever_its_values(value: float):
    sample = Sample(3, {"loss": value, "grad_norm": 1.0}, tokens_seen=10, time=1.5, meta={"resumed_from": 2})
    text = json.dumps(sample.to_json(), allow_nan=False)
    back = Sample.from_json(json.loads(text))
    assert back.metrics["loss"] == pytest.approx(value, nan_ok=True)
    assert (back.step, back.tokens_seen, back.time, back.meta) == (3, 10, 1.5, {"resumed_from": 2})


def test_non_finite_numbers_are_spelled_as_the_run_log_promises():
    record = Sample(1, {"a": math.nan, "b": math.inf, "c": -math.inf}).to_json()
    assert record["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}


@pytest.mark.parametrize("peak", [4.5, math.nan, math.inf, None])
def test_an_event_survives_json_with_its_incident(peak: float | None):
    event = Event(12, "loss-12", Change.OPENED, an_incident(peak=peak, evidence={"value": math.nan, "list": (1, 2)}))
    back = Event.from_json(json.loads(json.dumps(event.to_json(), allow_nan=False)))
    assert back.incident.peak == pytest.approx(peak, nan_ok=True)
    assert back.incident.evidence == {"value": "NaN", "list": [1, 2]}
    assert (back.change, back.incident.kind, back.incident.signals) == (Change.OPENED, Kind.SPIKE, ("loss",))


def test_an_incident_has_exactly_the_fields_of_the_design_in_json():
    assert list(an_incident().to_json()) == [
        "id", "kind", "severity", "status", "signals", "onset_step", "detected_step", "peak_step", "end_step",
        "expected", "peak", "score", "relative_increase", "excess_loss", "evidence", "message", "advice",
    ]  # fmt: skip
