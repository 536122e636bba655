from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from curves import healthy_run, samples

from pretrain_monitor import Monitor, Sample, replay
from pretrain_monitor.actions.orders import Order
from pretrain_monitor.lines import line, sample_line
from pretrain_monitor.records import read_samples
from pretrain_monitor.telemetry import Severity
from pretrain_monitor.viewing.evidence import evidence_of
from pretrain_monitor.viewing.run_log import RunLogFollower
from pretrain_monitor.viewing.summary import RunSummary

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


def troubled(n: int, *, seed: int = 0) -> list[Sample]:
    run = healthy_run(n, seed=seed)
    run["loss"][n // 2 : n // 2 + 20] += np.exp(-np.arange(20) / 6.0)
    run["grad_norm"][n // 2 : n // 2 + 20] *= 8
    return [
        Sample(s.step, s.metrics, tokens_seen=512 * s.step, time=1_764_000_000 + 0.5 * s.step) for s in samples(run)
    ]


def watched(run_dir: Path, stream: list[Sample], *, step: int = 0, reason: str = "finished") -> Path:
    monitor = Monitor(run_dir, QUIET)
    monitor.start(step)
    for sample in stream:
        if sample.step > step:
            monitor.observe(sample)
    monitor.finish(reason)
    return run_dir / "run.jsonl"


def read_all(path: Path, at_most: int = 1 << 20) -> RunLogFollower:
    follower = RunLogFollower(path)
    while follower.read(at_most):
        pass
    return follower


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return watched(tmp_path_factory.mktemp("watched"), troubled(1500))


@pytest.mark.parametrize("at_most", [500, 7000, 1 << 20])
def test_every_value_of_the_log_is_there_however_small_the_pieces(log: Path, at_most: int):
    content = read_all(log, at_most).content
    expected = list(read_samples(log))
    assert content.samples == len(expected)
    for name in ("loss", "grad_norm", "learning_rate"):
        series = content.series[name]
        assert series.steps.tolist() == [sample.step for sample in expected]
        assert series.values.tolist() == [sample.metrics[name] for sample in expected]
    assert content.tokens_at([3, 1500]).tolist() == [1536.0, 768_000.0]
    assert content.times_at([10]).tolist() == [1_764_000_005.0]
    assert np.isnan(content.tokens_at([2000])).all()
    assert content.end is not None and content.end.reason == "finished"


def test_incidents_are_those_of_the_run_and_each_has_its_history(log: Path):
    content = read_all(log).content
    incidents = replay(log.parent)
    assert [one.to_json() for one in content.incidents] == [one.to_json() for one in incidents]
    alert = next(one for one in incidents if one.severity is Severity.WARNING)
    changes = [str(event.change) for event in content.history(alert.id)]
    assert changes[0] == "opened"
    assert changes[-1] == "closed"


def test_a_log_that_is_being_written_is_followed_line_by_line(tmp_path: Path):
    path = tmp_path / "run.jsonl"
    follower = RunLogFollower(path)
    assert follower.read() is False
    assert follower.content.last_step is None
    stream = troubled(300)
    data = b"".join(map(sample_line, stream))
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), 997):
            file.write(data[start : start + 997])
            follower.read()
            complete = data[: start + 997].count(b"\n")
            assert follower.content.samples == complete
    assert follower.content.series["loss"].values.tolist() == [sample.metrics["loss"] for sample in stream]


def test_what_a_resumed_session_takes_back_is_gone(tmp_path: Path):
    first = troubled(1500)
    watched(tmp_path, first)
    again = [Sample(s.step, {**s.metrics, "loss": s.metrics["loss"] + 0.001}, s.tokens_seen, s.time) for s in first]
    follower = read_all(tmp_path / "run.jsonl")
    before, mark = follower.content, follower.content.epoch
    assert before.incidents
    path = watched(tmp_path, again[:900], step=600)
    while follower.read():
        pass
    content = follower.content
    assert content.epoch > mark
    assert content.last_step == 900
    loss = content.series["loss"]
    assert loss.values.tolist() == [s.metrics["loss"] for s in first[:600]] + [
        s.metrics["loss"] for s in again[600:900]
    ]
    assert [one.id for one in content.incidents] == [one.id for one in replay(path)]
    assert [session.after_step for session in content.sessions] == [0, 600]


def test_what_was_done_about_incidents_is_there_and_what_was_undone_is_not(tmp_path: Path):
    monitor = Monitor(tmp_path, {**QUIET, "actions": [{"do": "rewind"}]})
    monitor.start()
    for sample in troubled(300):
        monitor.observe(sample)
        if sample.step == 200:
            monitor.record_action(Order("skip_step", 200, "why", details={"step": 200}), "done")
    details = {"from_step": 300, "to_step": 250, "checkpoint": "x", "skip_steps": 0}
    monitor.rewind(Order("rewind", 300, "it diverged", "loss-280", details), 250)
    monitor.finish()
    content = read_all(tmp_path / "run.jsonl").content
    assert [(action.step, action.do, action.outcome) for action in content.actions] == [
        (200, "skip_step", "done"), (250, "rewind", "done")
    ]  # fmt: skip
    assert content.last_step == 250


def test_the_card_of_an_incident_says_what_was_done_about_it(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    for step in range(1, 301):
        monitor.observe(Sample(step, {"loss": math.nan if step == 200 else 3.0 + 0.01 * (step % 7)}))
        if step in (100, 200):
            monitor.record_action(Order("skip_step", step, "why", details={"step": step}), "done")
    monitor.record_action(Order("checkpoint", 200, "why", "loss-200", {"saved": "the one of step 150"}), "done")
    monitor.finish()
    content = read_all(tmp_path / "run.jsonl").content
    (incident,) = (one for one in content.incidents if one.id == "loss-200")
    assert [action["text"] for action in evidence_of(incident, content)["actions"]] == [
        "left out the update of step 200", "kept the one of step 150"
    ]  # fmt: skip


def test_a_log_that_was_replaced_is_read_from_its_beginning(tmp_path: Path):
    path = watched(tmp_path / "a", troubled(400))
    follower = read_all(path)
    other = watched(tmp_path / "b", troubled(200, seed=5))
    shutil.move(other, path)
    while follower.read():
        pass
    assert follower.content.last_step == 200
    assert follower.content.series["loss"].values.tolist() == [s.metrics["loss"] for s in troubled(200, seed=5)]


def test_damaged_lines_foreign_records_and_steps_that_go_backwards_are_passed_over(tmp_path: Path):
    path = tmp_path / "run.jsonl"
    stream = troubled(50)
    lines = [sample_line(sample) for sample in stream]
    lines[10:10] = [b'{"type":"sample","step":10,"metr\n', b"\x00\xff\n", b"[]\n", b'{"type":"event","step":3}\n']
    lines[30:30] = [
        sample_line(Sample(2, {"loss": 9.0}, time=1.0)),
        b'{"type":"sample","step":31,"metrics":{"loss":"x"}}\n',
    ]
    lines.append(b'{"type":"unknown","step":51}\n' + b'{"type":"sample","step":51,"metrics":{"loss":1.0},"time":2')
    path.write_bytes(b"".join(lines))
    follower = read_all(path, 2000)
    assert follower.content.series["loss"].values.tolist() == [sample.metrics["loss"] for sample in stream]
    assert follower.passed_over == 6


def test_values_that_are_not_finite_and_signals_that_come_and_go_are_kept(tmp_path: Path):
    path = tmp_path / "run.jsonl"
    stream = [Sample(step, {"loss": float(step)}, time=float(step)) for step in range(1, 401)]
    stream[200] = Sample(201, {"loss": math.nan, "extra": math.inf}, time=201.0)
    stream[300] = Sample(301, {"loss": 301.0, 'odd "name"\n': 1.0}, time=301.0)
    path.write_bytes(b"".join(map(sample_line, stream)))
    content = read_all(path).content
    assert math.isnan(content.series["loss"].values[200])
    assert content.series["extra"].last == (201, math.inf)
    assert content.series['odd "name"\n'].last == (301, 1.0)
    assert len(content.series["loss"]) == 400


def test_a_line_of_many_megabytes_does_not_stop_the_reading(tmp_path: Path):
    path = tmp_path / "run.jsonl"
    long = line("probe", {"step": 1, "notes": ["x" * 3_000_000]})
    path.write_bytes(
        sample_line(Sample(1, {"loss": 1.0}, time=1.0)) + long + sample_line(Sample(2, {"loss": 2.0}, time=2.0))
    )
    assert read_all(path, 1000).content.series["loss"].values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("at_most", [900, 1 << 20])
def test_a_summary_says_the_same_as_the_whole_log(log: Path, at_most: int):
    summary = RunSummary(log)
    while summary.read(at_most):
        pass
    content = read_all(log).content
    assert (summary.step, summary.tokens_seen) == (1500, 768_000)
    assert summary.time == 1_764_000_750.0
    assert summary.interval_s == 0.5
    assert summary.end == content.end
    assert [one.to_json() for one in summary.incidents] == [one.to_json() for one in content.incidents]


def test_a_summary_takes_back_what_a_resumed_session_does(tmp_path: Path):
    watched(tmp_path, troubled(1500))
    path = watched(tmp_path, troubled(1500)[:700], step=600, reason="stopped")
    summary = RunSummary(path)
    while summary.read(5000):
        pass
    assert summary.step == 700
    assert summary.incidents == []
    assert summary.end is not None and summary.end.reason == "stopped"
    os.truncate(path, 300)
    summary.read()
    assert summary.end is None
    assert summary.step == json.loads(path.read_bytes().splitlines()[-2])["step"] if summary.step else True
