from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from test_telemetry import an_incident

from pretrain_monitor import Event, Sample, Severity
from pretrain_monitor.actions.orders import ActionRecord
from pretrain_monitor.config import ConfigError
from pretrain_monitor.sinks.dispatch import RunEnd, SinkThread
from pretrain_monitor.sinks.prometheus import PrometheusSink
from pretrain_monitor.telemetry import Change, Kind, Status

Key = tuple[str, tuple[tuple[str, str], ...]]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def read(path: Path) -> dict[Key, float]:
    """Every value by its name, without what all names begin with, and labels."""
    families = list(text_string_to_metric_families(path.read_bytes().decode()))
    assert all(family.type == "gauge" and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    found = {(one.name.removeprefix("pretrain_monitor_"), tuple(one.labels.items())): one.value for one in samples}
    assert len(found) == len(samples)
    return found


def test_the_state_of_a_run_is_read_back(tmp_path: Path):
    path = tmp_path / "run.prom"
    thread = SinkThread(PrometheusSink(path, labels={"run": "7b"}))
    metrics = {"loss": 2.25, "grad_norm": 0.5, "learning_rate": 3e-4, "loss/expected": 2.0}
    thread.put(Sample(7, metrics, tokens_seen=7_000_000, time=1_700_000_000.25), [])
    incident = an_incident(kind=Kind.SPIKE, severity=Severity.WARNING, status=Status.OPEN)
    thread.put(None, [Event(7, incident.id, Change.OPENED, incident)])
    thread.put_end(RunEnd(7, "finished"))
    thread.close(10)
    run = ("run", "7b")
    assert read(path) == {
        ("loss", (run,)): 2.25,
        ("grad_norm", (run,)): 0.5,
        ("learning_rate", (run,)): 3e-4,
        ("step", (run,)): 7,
        ("last_sample_timestamp_seconds", (run,)): 1_700_000_000.25,
        ("tokens_seen", (run,)): 7_000_000,
        ("signal", (run, ("name", "loss/expected"))): 2.0,
        ("incidents", (run, ("severity", "warning"), ("kind", "spike"), ("status", "open"))): 1,
        ("open_alerts", (run,)): 1,
        ("is_running", (run,)): 0,
    }
    assert [file.name for file in tmp_path.iterdir()] == ["run.prom"]


def test_an_incident_counts_once_where_it_stands_now(tmp_path: Path):
    sink = PrometheusSink(tmp_path / "run.prom")
    for change, status in ((Change.OPENED, Status.OPEN), (Change.CLOSED, Status.RECOVERED)):
        one = an_incident(severity=Severity.CRITICAL, status=status)
        sink.on_event(Event(5, one.id, change, one))
    note = an_incident(id="note", severity=Severity.INFO, status=Status.OPEN)
    sink.on_event(Event(5, note.id, Change.OPENED, note))
    sink.close()
    found = read(tmp_path / "run.prom")
    stands = sorted((dict(labels)["status"], value) for (name, labels), value in found.items() if name == "incidents")
    assert stands == [("open", 1), ("recovered", 1)]
    assert found["open_alerts", ()] == 0


def test_what_a_run_goes_back_behind_no_longer_counts(tmp_path: Path):
    sink = PrometheusSink(tmp_path / "run.prom")
    for step in (100, 500):
        one = an_incident(id=f"loss-{step}", severity=Severity.WARNING, status=Status.OPEN, detected_step=step)
        sink.on_event(Event(step, one.id, Change.OPENED, one))
    sink.on_action(ActionRecord(400, 0.0, "rewind", "done", "", "loss-500", {}))
    sink.close()
    assert read(tmp_path / "run.prom")["open_alerts", ()] == 1


def test_numbers_and_names_of_any_kind_are_spelled_as_the_format_wants(tmp_path: Path):
    names = ['say "hi"', "back\\slash", "two\nlines", "carriage\rreturn", "ünïcode", "", "}", "tab\t", "\\n"]
    metrics = {name: float(place) for place, name in enumerate(names)}
    sink = PrometheusSink(tmp_path / "run.prom", labels={"run": 'a"b\\c\nd'})
    sink.on_sample(Sample(1, {**metrics, "loss": math.nan, "grad_norm": math.inf, "learning_rate": -math.inf}))
    sink.close()
    assert " NaN\n" in (text := (tmp_path / "run.prom").read_text())
    assert " +Inf\n" in text
    found = read(tmp_path / "run.prom")
    run = ("run", 'a"b\\c\nd')
    shown = {dict(labels)["name"]: value for (name, labels), value in found.items() if name == "signal"}
    assert shown == metrics
    assert math.isnan(found["loss", (run,)])
    assert (found["grad_norm", (run,)], found["learning_rate", (run,)]) == (math.inf, -math.inf)


def test_names_that_no_file_can_hold_apart_are_written_once(tmp_path: Path):
    sink = PrometheusSink(tmp_path / "run.prom")
    long = ["a" * 500 + middle + "b" * 500 for middle in "xy"]
    sink.on_sample(Sample(1, dict.fromkeys(["\ud800", "\ud801", *long], 1.0)))
    sink.close()
    assert sum(name == "signal" for name, _ in read(tmp_path / "run.prom")) == 2


def test_the_number_of_signals_is_bounded_and_those_left_out_are_counted(tmp_path: Path):
    sink = PrometheusSink(tmp_path / "run.prom")
    for step in (1, 2):
        sink.on_sample(Sample(step, {f"s{place}": 1.0 for place in range(1_000)} | {"loss": float(step)}))
    sink.close()
    found = read(tmp_path / "run.prom")
    shown = sum(name == "signal" for name, _ in found)
    assert shown == 200
    assert found["signals_left_out", ()] == 800
    assert found["loss", ()] == 2.0


def test_it_is_written_no_more_often_than_said_and_at_the_end(tmp_path: Path):
    now, path = Clock(), tmp_path / "run.prom"
    sink = PrometheusSink(path, every_s=15, now=now)
    steps = []
    for second in range(40):
        now.now = second
        sink.on_sample(Sample(second, {"loss": 2.0}))
        sink.on_tick()
        steps.append(read(path)["step", ()])
    assert sorted(set(steps)) == [0, 15, 30]
    sink.close()
    assert read(path)["step", ()] == 39


def test_a_file_that_cannot_be_written_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    now, folder = Clock(), tmp_path / "not there yet"
    sink = PrometheusSink(folder / "run.prom", now=now)
    with caplog.at_level(logging.INFO):
        for second in range(0, 100, 20):
            now.now = second
            sink.on_sample(Sample(second, {"loss": 2.0}))
            sink.on_tick()
        folder.mkdir()
        now.now = 120
        sink.on_tick()
    assert read(folder / "run.prom")["step", ()] == 80
    assert len(caplog.records) == 1
    assert "No such file or directory" in caplog.text


def test_the_file_can_be_read_by_everybody_who_may_read_new_files_here(tmp_path: Path):
    sink = PrometheusSink(tmp_path / "run.prom")
    sink.on_sample(Sample(1, {"loss": 2.0}))
    sink.close()
    (tmp_path / "other").touch()
    assert (tmp_path / "run.prom").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name", ["1st", "a-b", "__x", "severity", ""])
def test_a_label_that_prometheus_would_not_take_is_refused(name: str):
    with pytest.raises(ConfigError, match="label"):
        PrometheusSink("run.prom", labels={name: "x"})


def test_a_file_that_node_exporter_would_not_read_is_refused():
    with pytest.raises(ConfigError, match=r"end in \.prom"):
        PrometheusSink("run.txt")
