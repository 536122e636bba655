from __future__ import annotations

from dataclasses import replace

from pretrain_monitor import Sample, replay
from pretrain_monitor.telemetry import Incident, Kind
from pretrain_monitor.viewing.coincidence import RunIncidents, coincidences

BASE = replay([Sample(7, {"loss": float("nan")})])[0]


def at(*steps: int, kind: Kind = Kind.SPIKE) -> list[Incident]:
    return [replace(BASE, id=f"loss-{step}", kind=kind, onset_step=step, detected_step=step) for step in steps]


def test_incidents_that_begin_within_two_steps_in_two_runs_are_the_data():
    runs = {"a": RunIncidents(at(100, 4000), 10_000), "b": RunIncidents(at(102, 9000), 10_000)}
    (found,) = coincidences(runs)
    assert found.step == 100
    assert found.incidents == {"a": "loss-100", "b": "loss-102"}
    assert found.is_likely_data
    assert 0 < found.chance < 0.01


def test_many_incidents_meet_by_chance_and_are_not_called_the_data():
    many = at(*range(10, 1000, 20))
    found = coincidences({"a": RunIncidents(many, 1000), "b": RunIncidents(many, 1000)})
    assert len(found) == len(many)
    assert not any(one.is_likely_data for one in found)


def test_a_learning_rate_that_two_runs_share_is_no_matter_of_data():
    runs = {name: RunIncidents(at(500, kind=Kind.LR_ANOMALY), 10_000) for name in "ab"}
    assert coincidences(runs) == []


def test_one_run_alone_and_none_have_nothing_in_common():
    assert coincidences({}) == []
    assert coincidences({"a": RunIncidents(at(10, 11), 100)}) == []


def test_three_runs_are_one_group_and_less_likely_by_chance_than_two():
    runs = {name: RunIncidents(at(100), 5000) for name in "abc"}
    (three,) = coincidences(runs)
    (two,) = coincidences({name: runs[name] for name in "ab"})
    assert set(three.incidents) == {"a", "b", "c"}
    assert three.chance < two.chance
