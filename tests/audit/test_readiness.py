from __future__ import annotations

import math

import pytest

from pretrain_monitor.audit.criteria import load_criteria
from pretrain_monitor.audit.model import Area, Finding, Verdict
from pretrain_monitor.audit.readiness import judged, next_steps, verdict

ASKED = {
    "checks": {
        "stability/incidents": {"need": "required", "at_most": 0},
        "schedule/decay": {"need": "advised", "at_most": 25},
        "data/same_step": {"need": "shown", "at_most": 0},
    }
}


def found(incidents: float | None, decay: float | None, same: float | None = 5.0) -> list[Finding]:
    values = {"stability/incidents": incidents, "schedule/decay": decay, "data/same_step": same}
    return judged(
        [
            Finding(
                check=name,
                area=Area(name.partition("/")[0]),
                title=name,
                value=value,
                missing="" if value is not None else "a log",
                summary="so it is",
                advice=f"mend {name}",
            )
            for name, value in values.items()
        ],
        load_criteria(ASKED),
    )


@pytest.mark.parametrize(
    ("incidents", "decay", "expected"),
    [
        (0.0, 10.0, Verdict.READY),
        (0.0, 30.0, Verdict.CONDITIONS),
        (0.0, None, Verdict.CONDITIONS),
        (1.0, 10.0, Verdict.NOT_READY),
        (1.0, None, Verdict.NOT_READY),
        (None, 10.0, Verdict.NOT_ENOUGH),
        (None, 30.0, Verdict.NOT_ENOUGH),
        (math.nan, 10.0, Verdict.NOT_READY),
    ],
)
def test_the_verdict_follows_from_what_counts(incidents: float | None, decay: float | None, expected: Verdict):
    outcome, reasons = verdict(found(incidents, decay))
    assert outcome is expected
    assert reasons and not any("same_step" in reason for reason in reasons)


def test_the_gravest_reason_comes_first_and_says_its_limit():
    _, reasons = verdict(found(2.0, 40.0))
    assert reasons == [
        "stability/incidents: so it is (limit: at most 0)",
        "schedule/decay: so it is (limit: at most 25)",
    ]


def test_what_is_only_shown_has_its_outcome_and_changes_nothing():
    findings = found(0.0, 10.0, same=3.0)
    assert findings[2].passed is False
    assert verdict(findings)[0] is Verdict.READY


def test_advice_is_for_what_failed_and_for_what_is_missing():
    assert next_steps(found(1.0, None, same=None)) == [
        "stability/incidents: mend stability/incidents",
        "Get the evidence for schedule/decay: a log.",
    ]
    assert next_steps(found(0.0, 1.0, same=None)) == []


def test_criteria_that_ask_for_nothing_give_no_verdict():
    findings = judged(found(0.0, 0.0), load_criteria({"checks": {}}))
    assert verdict(findings)[0] is Verdict.NOT_ENOUGH
