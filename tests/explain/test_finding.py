from __future__ import annotations

import pytest
from test_telemetry import an_incident

from pretrain_monitor import Incident, Severity
from pretrain_monitor.explain.errors import ExplainError
from pretrain_monitor.explain.finding import find


def lasting(identity: str, onset: int, steps: int, severity: Severity = Severity.WARNING) -> Incident:
    evidence = {"duration_steps": steps, "charts": {}, "opened_step": onset}
    return an_incident(
        id=identity, onset_step=onset, detected_step=onset, end_step=onset + steps, severity=severity, evidence=evidence
    )


INCIDENTS = [
    lasting("loss-100", 100, 50),
    lasting("grad_norm-120", 120, 10, Severity.INFO),
    lasting("loss-900", 900, 10),
    lasting("7", 2000, 5),
]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("loss-900", "loss-900"),
        ("100", "loss-100"),
        ("150", "loss-100"),
        ("125", "loss-100"),  # the alert of the two
        ("905", "loss-900"),
        ("7", "7"),  # an id that looks like a step is an id
        ("2,003", "7"),
        ("2_003", "7"),
    ],
)
def test_an_incident_is_found_by_its_id_or_by_a_step_within_it(asked: str, found: str):
    choice = find(INCIDENTS, asked)
    assert (choice.incident.id, choice.remark) == (found, "")


@pytest.mark.parametrize(("asked", "found"), [("1", "loss-100"), ("600", "loss-900"), ("99999999", "7")])
def test_a_step_of_no_incident_gives_the_nearest_and_says_so(asked: str, found: str):
    choice = find(INCIDENTS, asked)
    assert choice.incident.id == found
    assert f"no incident at step {int(asked):,}" in choice.remark
    assert f"from {choice.incident.onset_step:,} to {choice.incident.end_step:,}" in choice.remark


@pytest.mark.parametrize("asked", ["loss-101", "", "los", "-1", "1e3", "9" * 400, "[red]\x1b[31m"])
def test_an_unknown_id_says_which_there_are_in_one_printable_line(asked: str):
    with pytest.raises(ExplainError) as error:
        find(INCIDENTS, asked)
    message = str(error.value)
    assert message.isprintable()
    assert all(incident.id in message for incident in INCIDENTS)
    assert len(message) < 250


def test_of_many_incidents_those_near_the_unknown_id_are_named():
    many = [lasting(f"loss-{100 * k}", 100 * k, 5) for k in range(1, 60)]
    with pytest.raises(ExplainError, match=r"loss-3000, .*loss-3100.* and 53 more"):
        find(many, "loss-3001")


def test_without_incidents_nothing_is_found():
    with pytest.raises(ExplainError, match="there are no incidents"):
        find([], "loss-1")
