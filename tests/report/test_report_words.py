"""What all reports say in the same words, and what they put first."""

from __future__ import annotations

import pytest
from example_audits import FINDINGS, OTHER, RUN, crowded_audit, full_audit

from pretrain_monitor.audit.model import Area, Finding, Need, Place
from pretrain_monitor.report import words
from pretrain_monitor.report.states import State, by_area, by_gravity, counts, finding_behind, state_of


def finding(**fields: object) -> Finding:
    return Finding.model_validate({"check": "a/b", "area": Area.DATA, "title": "B", "value": 1.0} | fields)


@pytest.mark.parametrize(
    ("fields", "value", "limit"),
    [
        ({"value": 3.1, "limit": 1.0, "unit": "%"}, "3.1 %", "at most 1 %"),
        ({"value": 90.0, "limit": 98.0, "unit": "%", "bound": "at_least"}, "90 %", "at least 98 %"),
        ({"value": 1.00004, "limit": 1.0}, "1.00004", "at most 1"),
        ({"value": 1.0, "limit": 1.0}, "1", "at most 1"),
        ({"value": 651.2, "unit": "nats x steps"}, "651.2 nats x steps", ""),
        ({"value": None, "limit": 0.0}, "not known", "at most 0"),
        ({"value": float("nan"), "limit": 2.0}, "nan", "at most 2"),
        ({"value": float("inf"), "limit": 2.0}, "infinite", "at most 2"),
    ],
)
def test_a_value_and_its_limit_can_be_told_apart(fields: dict[str, object], value: str, limit: str):
    assert words.value_and_limit(finding(**fields)) == (value, limit)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"value": None, "need": Need.REQUIRED}, State.MISSING),
        ({"passed": False, "limit": 0.0, "need": Need.ADVISED}, State.FAILED),
        ({"passed": False, "limit": 0.0, "need": Need.SHOWN}, State.NOTED),
        ({"passed": True, "limit": 2.0}, State.PASSED),
        ({}, State.TOLD),
    ],
)
def test_what_became_of_a_check(fields: dict[str, object], state: State):
    assert state_of(finding(**fields)) is state


def test_the_gravest_comes_first_and_every_area_is_there():
    states = [(state_of(one), one.need) for one in by_gravity(FINDINGS)]
    assert states[:4] == [
        (State.FAILED, Need.REQUIRED),
        (State.FAILED, Need.ADVISED),
        (State.MISSING, Need.REQUIRED),
        (State.NOTED, Need.SHOWN),
    ]
    assert [area for area, _ in by_area(full_audit(2))] == list(Area)
    assert sum(len(findings) for _, findings in by_area(crowded_audit())) == 40
    assert words.count_words(counts(FINDINGS)) == "2 failed, 1 missing, 1 not counted, 6 passed, 2 info"


def test_a_reason_leads_to_the_finding_that_it_speaks_of():
    behind = [finding_behind(reason, FINDINGS) for reason in full_audit(2).reasons]
    assert [one.check for one in behind if one] == [
        "stability/lingering_damage",
        "tokenization/unknown_share",
        "schedule/restarts",
    ]
    assert finding_behind("Something else altogether.", FINDINGS) is None
    assert finding_behind("It broke: " + FINDINGS[1].summary, FINDINGS) is FINDINGS[1]


def test_of_two_titles_one_within_the_other_the_longer_one_is_meant():
    short, long = finding(check="a/short", title="Spike"), finding(check="a/long", title="Spike score")
    assert finding_behind("Spike score: 3 %", [short, long]) is long
    assert finding_behind("Spike: at step 3", [long, short]) is short


def test_facts_of_two_runs_stand_side_by_side():
    own, other = dict(words.facts(RUN)), dict(words.facts(OTHER))
    assert list(own) == list(other)
    assert own["tokens seen"] == "83.9 B"
    assert own["samples"] == "40,000, every step"
    assert own["time"].startswith("4.6 days, 2026-")
    assert (other["samples"], other["time"], other["ended"]) == ("20,000, one in 2 steps", "not known", "not known")


def test_a_time_that_no_calendar_has_is_not_known():
    assert dict(words.facts(RUN.model_copy(update={"began": 0.0, "ended": 1e20})))["time"] == "not known"


def test_places_are_named_as_people_name_them():
    assert words.place_words(Place(signal="grad_norm", first_step=7, last_step=7)) == "gradient norm, step 7"
    text = words.place_words(Place(signal="loss", first_step=1000, last_step=2000, note="a step up"))
    assert text == "loss, steps 1,000 to 2,000: a step up"
