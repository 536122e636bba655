"""What is announced while a run goes on: in the log, in the samples, after a resume."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from pretrain_monitor import ListSink, Monitor, Sample, read_run
from pretrain_monitor.announcing import Announcement, Announcements
from pretrain_monitor.detection.context import Change, RunContext
from pretrain_monitor.records import read_records
from pretrain_monitor.runlog import RunLog

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


def a_monitor(run_dir: Path | None, start: int = 0, **settings: Any) -> tuple[Monitor, ListSink]:
    sink = ListSink()
    monitor = Monitor(run_dir, {**QUIET, **settings}, sinks=[sink])
    monitor.start(start)
    return monitor, sink


def observe(monitor: Monitor, steps: range) -> None:
    for step in steps:
        monitor.observe(Sample(step, {"loss": 2.0}))


def kill(monitor: Monitor) -> None:
    assert monitor._log is not None
    monitor._log.close()  # what a kill does: no finish, the lock is gone


def carried(samples: Any) -> list[tuple[int, list[dict[str, Any]]]]:
    return [(s.step, s.meta["announced"]) for s in samples if s.meta and "announced" in s.meta]


def stage(text: str, step: int, what: str = "data_stage") -> dict[str, Any]:
    return {"text": text, "what": what, "step": step}


def changes(run_dir: Path) -> list[Change]:
    context = RunContext()
    for sample in read_run(run_dir):
        context.update(sample.step, sample.metrics, sample.meta, sample.tokens_seen)
    return context.near(0, 10**9, slack=0)


def test_an_announcement_is_in_the_log_at_once_and_in_the_next_sample(tmp_path: Path):
    monitor, sink = a_monitor(tmp_path)
    observe(monitor, range(1, 5))
    monitor.announce("stage 2: code")
    record = list(read_records(tmp_path / "run.jsonl"))[-1]
    assert record.pop("time") > 1.7e9
    expected = {"step": 4, "from_step": 5, "what": "data_stage", "text": "stage 2: code"}
    assert record == {"type": "announcement", **expected}
    observe(monitor, range(5, 8))
    monitor.finish()
    assert carried(sink.samples) == carried(read_run(tmp_path)) == [(5, [stage("stage 2: code", 5)])]
    assert [sample.step for sample in read_run(tmp_path)] == list(range(1, 8))


def test_several_announcements_travel_together_each_with_its_own_step(tmp_path: Path):
    monitor, sink = a_monitor(tmp_path)
    observe(monitor, range(1, 5))
    monitor.announce("longer sequences", what="sequence_length", step=100)
    monitor.announce("the batch was doubled", what="batch_size", step=3)
    monitor.announce("the batch was doubled", what="batch_size", step=3)
    observe(monitor, range(5, 8))
    monitor.finish()
    both = [stage("longer sequences", 100, "sequence_length"), stage("the batch was doubled", 3, "batch_size")]
    assert carried(sink.samples) == carried(read_run(tmp_path)) == [(5, both)]


def test_a_sample_that_carries_something_itself_keeps_it(tmp_path: Path):
    monitor, sink = a_monitor(tmp_path)
    monitor.announce("ours")
    monitor.observe(Sample(1, {"loss": 2.0}, meta={"announced": [stage("theirs", 1)], "shard": 7}))
    monitor.finish()
    live, replayed = carried(sink.samples), carried(read_run(tmp_path))
    assert live == replayed == [(1, [stage("theirs", 1), stage("ours", 1)])]


def test_words_that_come_before_late_samples_wait_for_the_step_after_them(tmp_path: Path):
    monitor, sink = a_monitor(tmp_path)
    observe(monitor, range(1, 4))
    monitor.announce("stage 2", completed_steps=5)  # the device is two steps ahead of what has been read from it
    observe(monitor, range(4, 9))
    monitor.finish()
    assert carried(sink.samples) == carried(read_run(tmp_path)) == [(6, [stage("stage 2", 6)])]


def test_what_is_said_before_watching_begins_is_kept_until_then(tmp_path: Path):
    sink = ListSink()
    monitor = Monitor(tmp_path, QUIET, sinks=[sink])
    monitor.announce("stage 1")
    monitor.announce("stage 2", step=900)
    observe(monitor, range(1, 4))
    monitor.finish()
    assert carried(sink.samples) == carried(read_run(tmp_path)) == [(1, [stage("stage 1", 1), stage("stage 2", 900)])]


def test_a_program_that_says_at_each_start_what_began_long_ago_is_not_told_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monitor = Monitor(tmp_path, QUIET)
    monitor.announce("stage 2", step=900)
    monitor.start(5000)
    observe(monitor, range(5001, 5003))
    monitor.finish()
    assert carried(read_run(tmp_path)) == []
    assert caplog.text == ""


@pytest.mark.parametrize("snapshot_steps", [100, 100_000])
@pytest.mark.parametrize(
    ("restored", "is_kept"), [(120, True), (150, True), (149, False), (100, False)], ids=["1", "2", "3", "4"]
)
def test_a_resumed_run_keeps_what_was_said_by_then_and_takes_back_the_rest(
    tmp_path: Path, snapshot_steps: int, restored: int, is_kept: bool
):
    said_after = 110 if restored == 120 else 150
    monitor, _ = a_monitor(tmp_path, snapshot_steps=snapshot_steps)
    observe(monitor, range(1, said_after + 1))
    monitor.announce("stage 2")
    observe(monitor, range(said_after + 1, 170))
    kill(monitor)
    resumed, sink = a_monitor(tmp_path, restored, snapshot_steps=snapshot_steps)
    observe(resumed, range(restored + 1, 200))
    resumed.finish()
    first = said_after + 1
    assert carried(read_run(tmp_path)) == ([(first, [stage("stage 2", first)])] if is_kept else [])
    assert carried(sink.samples) == [entry for entry in carried(read_run(tmp_path)) if entry[0] > restored]


def test_an_announcement_whose_sample_was_lost_with_the_process_is_carried_by_the_one_that_takes_its_place(
    tmp_path: Path,
):
    monitor, _ = a_monitor(tmp_path)
    observe(monitor, range(1, 51))
    monitor.announce("stage 2")
    kill(monitor)
    resumed, sink = a_monitor(tmp_path, 50)
    resumed.announce("stage 2")  # the loop begins where it began before, and says it again
    observe(resumed, range(51, 60))
    resumed.finish()
    assert carried(sink.samples) == carried(read_run(tmp_path)) == [(51, [stage("stage 2", 51)])]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_snapshot_between_the_words_and_their_sample_loses_nothing_but_damage(tmp_path: Path, is_damaged: bool):
    monitor, _ = a_monitor(tmp_path, snapshot_steps=100)
    observe(monitor, range(1, 100))
    monitor.announce("stage 2", completed_steps=102)
    observe(monitor, range(100, 103))
    assert [r["step"] for r in read_records(tmp_path / "run.jsonl") if r["type"] == "snapshot"] == [100]
    kill(monitor)
    if is_damaged:
        path = tmp_path / "run.jsonl"
        path.write_text(path.read_text().replace('"what":"data_stage"', '"what":7'))
    resumed, sink = a_monitor(tmp_path, 102, snapshot_steps=100)
    assert resumed.detector.last_step == 102
    observe(resumed, range(103, 110))
    resumed.finish()
    expected = [] if is_damaged else [(103, [stage("stage 2", 103)])]
    assert carried(sink.samples) == carried(read_run(tmp_path)) == expected


def test_the_changes_of_a_killed_and_resumed_run_are_those_of_an_uninterrupted_one(tmp_path: Path):
    def say(monitor: Monitor, steps: range) -> None:
        for step in steps:
            if step in (40, 80, 121):
                monitor.announce(f"stage from {step}")
            observe(monitor, range(step, step + 1))

    whole, _ = a_monitor(tmp_path / "whole")
    say(whole, range(1, 200))
    whole.finish()
    killed, _ = a_monitor(tmp_path / "run", snapshot_steps=100)
    say(killed, range(1, 131))
    kill(killed)
    resumed, _ = a_monitor(tmp_path / "run", 70, snapshot_steps=100)
    say(resumed, range(71, 200))
    resumed.finish()
    assert [change.step for change in changes(tmp_path / "run")] == [40, 80, 121]
    assert changes(tmp_path / "run") == changes(tmp_path / "whole")


def test_a_fresh_start_in_a_used_directory_leaves_behind_what_was_said_before(tmp_path: Path):
    for text in ("of the first run", "of the second run"):
        monitor, _ = a_monitor(tmp_path)
        monitor.announce(text)
        observe(monitor, range(1, 10))
        monitor.finish()
    assert carried(read_run(tmp_path)) == [(1, [stage("of the second run", 1)])]


class NoText:
    def __repr__(self) -> str:
        return "<no text>"


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("", {}, "text = '': say in a few words what changes"),
        (" \n", {}, "text = ' \\n': say in a few words what changes"),
        (NoText(), {}, "text = <no text>: say in a few words what changes"),
        ("x", {"what": "weather"}, "what = 'weather': choose one of data_stage, batch_size, sequence_length, "),
        ("x", {"what": ["data_stage"]}, "what = ['data_stage']: choose one of"),
        ("x", {"step": 0}, "step = 0: give the first step that is trained in the new way, 1 or more"),
        ("x", {"step": "7"}, "step = '7': give the first step"),
        ("x", {"step": 7.5}, "step = 7.5: give the first step"),
        ("x", {"step": 3}, "step 3 is past for too long to explain anything"),
    ],
)
def test_a_call_that_makes_no_sense_is_one_line_and_the_run_goes_on(
    text: Any, options: dict[str, Any], line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monitor, _ = a_monitor(tmp_path)
    monitor.observe(Sample(2000, {"loss": 2.0}))
    monitor.announce(text, **options)
    observe(monitor, range(2001, 2004))
    monitor.finish()
    assert [r.levelno >= logging.WARNING for r in caplog.records] == [True]
    assert f"announce is left out: {line}" in caplog.text
    assert carried(read_run(tmp_path)) == []


def test_a_text_of_any_kind_becomes_one_clean_line(tmp_path: Path):
    monitor, _ = a_monitor(tmp_path)
    monitor.announce("stage\n\t2:\x1b[31m " + "code " * 1000)
    observe(monitor, range(1, 3))
    monitor.finish()
    ((_, [said]),) = carried(read_run(tmp_path))
    assert said["text"].startswith("stage 2: [31m code code")
    assert len(said["text"]) == 200


def test_threads_may_announce_while_others_observe(tmp_path: Path):
    monitor, sink = a_monitor(tmp_path)

    def speak(name: str) -> None:
        for number in range(10):
            monitor.announce(f"{name}{number}")

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    observe(monitor, range(1, 201))
    for thread in threads:
        thread.join()
    observe(monitor, range(201, 203))
    monitor.finish()
    assert carried(sink.samples) == carried(read_run(tmp_path))
    assert sorted(said["text"] for _, all_of_it in carried(sink.samples) for said in all_of_it) == [
        f"{name}{number}" for name in "abc" for number in range(10)
    ]


def test_a_forked_child_announces_nothing(tmp_path: Path):
    code = """
        import os, sys
        from pretrain_monitor import Monitor, Sample
        monitor = Monitor(sys.argv[1], {"console": {"enabled": False}, "tensorboard": {"enabled": False}})
        monitor.start()
        if (child := os.fork()) == 0:
            monitor.announce("by the child")
            os._exit(0)
        os.waitpid(child, 0)
        monitor.announce("by the parent")
        monitor.observe(Sample(1, {"loss": 2.0}))
        monitor.finish()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path / "run"], check=True, timeout=60)
    assert carried(read_run(tmp_path / "run")) == [(1, [stage("by the parent", 1)])]


def test_without_a_run_directory_the_samples_carry_it_all_the_same():
    monitor, sink = a_monitor(None)
    monitor.announce("stage 1")
    observe(monitor, range(1, 3))
    monitor.finish()
    assert carried(sink.samples) == [(1, [stage("stage 1", 1)])]


@pytest.mark.parametrize("wrong", [{"text": "x"}, {"from_step": "5", "what": "other", "text": "x"}])
def test_a_damaged_record_is_dropped_and_reported(
    wrong: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    log = RunLog(tmp_path)
    log.begin(None)
    log.write_announcement(Announcement(0, 1, "other", "good"))
    log.close()
    with log.path.open("a") as file:
        file.write(json.dumps({"type": "announcement", "step": 0, **wrong}) + "\n")
        file.write('{"type":"sample","step":1,"metrics":{"loss":2.0}}\n')
    assert carried(read_run(tmp_path)) == [(1, [stage("good", 1, "other")])]
    assert "dropped an announcement that this version cannot read" in caplog.text


def test_those_that_wait_are_bounded():
    waiting = Announcements()
    for number in range(1000):
        waiting.add(Announcement(number, number + 1, "other", "x"))
    assert waiting.carried_by(Sample(10_000, {})).meta == {
        "announced": [stage("x", number + 1, "other") for number in range(936, 1000)]
    }
