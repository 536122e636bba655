from __future__ import annotations

import json
import logging
import math
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_telemetry import an_incident

from pretrain_monitor import Event, Sample, read_run
from pretrain_monitor.records import RunLogIndex, RunLogTail, read_events, read_records
from pretrain_monitor.rundir import RunDirectoryError
from pretrain_monitor.runlog import RunLog
from pretrain_monitor.telemetry import Change


def write_run(run_dir: Path, steps: range, *, resumed_from: int | None = None, loss: float = 2.0) -> None:
    log = RunLog(run_dir)
    log.begin(resumed_from)
    for step in steps:
        log.write(Sample(step, {"loss": loss}))
    log.close()


def test_what_was_written_is_read_back(tmp_path: Path):
    log = RunLog(tmp_path)
    log.begin(None)
    event = Event(2, "loss-2", Change.OPENED, an_incident())
    log.write(Sample(1, {"loss": 2.5}, tokens_seen=100, time=5.0))
    log.write(Sample(2, {"loss": math.nan}), [event])
    log.close()
    first, second = read_run(tmp_path)
    assert first == Sample(1, {"loss": 2.5}, tokens_seen=100, time=5.0)
    assert math.isnan(second.metrics["loss"])
    assert list(read_events(tmp_path / "run.jsonl")) == [event]


def test_every_line_is_strict_json(tmp_path: Path):
    log = RunLog(tmp_path)
    log.begin(None)
    log.write(Sample(1, {"loss": math.inf}), [Event(1, "x", Change.OPENED, an_incident(peak=math.nan))])
    log.close()

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    for line in (tmp_path / "run.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_resumed_session_supersedes_what_lies_past_its_step(tmp_path: Path):
    write_run(tmp_path, range(1, 11), loss=2.0)
    write_run(tmp_path, range(6, 9), resumed_from=5, loss=3.0)
    write_run(tmp_path, range(8, 10), resumed_from=7, loss=4.0)
    assert [(s.step, s.metrics["loss"]) for s in read_run(tmp_path)] == [
        *((step, 2.0) for step in range(1, 6)), (6, 3.0), (7, 3.0), (8, 4.0), (9, 4.0),
    ]  # fmt: skip
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 10 + 3 + 2 + 3, "nothing is ever rewritten"


def test_a_snapshot_past_the_resumed_step_is_not_used(tmp_path: Path):
    log = RunLog(tmp_path)
    log.begin(None)
    for step in range(1, 7):
        log.write(Sample(step, {"loss": 1.0}))
        if step % 2 == 0:
            log.write_snapshot(step, {}, {"at": step})
    log.close()
    write_run(tmp_path, range(4, 6), resumed_from=3)
    path = tmp_path / "run.jsonl"
    start = RunLogIndex.of(path).last_snapshot(5)
    first = next(read_records(path, start=start))
    assert first["state"] == {"at": 2}, "4 was superseded by resuming from 3, 6 lies ahead"


def test_a_torn_last_line_is_dropped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_run(tmp_path, range(1, 5))
    path = tmp_path / "run.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level(logging.WARNING):
        assert [sample.step for sample in read_run(tmp_path)] == [1, 2, 3]
    assert "dropped 1 line cut off" in caplog.text


def test_writing_goes_on_after_a_torn_line_without_losing_the_next(tmp_path: Path):
    write_run(tmp_path, range(1, 5))
    path = tmp_path / "run.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    write_run(tmp_path, range(4, 7), resumed_from=3)
    assert [sample.step for sample in read_run(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_kill_9_costs_at_most_the_last_partial_line(tmp_path: Path):
    code = f"""
        from pretrain_monitor import Sample
        from pretrain_monitor.runlog import RunLog
        log = RunLog({str(tmp_path)!r})
        log.begin(None)
        step = 0
        while True:
            step += 1
            log.write(Sample(step, {{"loss": 2.0}}))
            print(step, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 200:
            break
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.stdout.close()
    process.wait()
    # The last number may itself have been cut off by the kill.
    announced = max([200, *map(int, rest[:-1])])
    steps = [sample.step for sample in read_run(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= announced
    write_run(tmp_path, range(101, 103), resumed_from=100)  # the dead process holds nothing
    assert [sample.step for sample in read_run(tmp_path)][-3:] == [100, 101, 102]


@contextmanager
def another_process_that_owns(run_dir: Path) -> Iterator[int]:
    """The id of a process that has written step 1 with a loss of 9 into a run directory, and lives on until the end."""
    code = f"""
        import sys
        from pretrain_monitor import Sample
        from pretrain_monitor.runlog import RunLog
        log = RunLog({str(run_dir)!r})
        log.begin(None)
        log.write(Sample(1, {{"loss": 9.0}}))
        print("ready", flush=True)
        sys.stdin.read()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    try:
        yield owner.pid
    finally:
        owner.communicate("")


def test_a_run_directory_of_another_live_process_is_refused_with_its_pid(tmp_path: Path):
    with (
        another_process_that_owns(tmp_path) as pid,
        pytest.raises(RunDirectoryError, match=rf"belongs to a live process \(pid {pid}\)"),
    ):
        RunLog(tmp_path)
    RunLog(tmp_path).close()


def test_two_logs_of_one_process_do_not_share_a_directory(tmp_path: Path):
    log = RunLog(tmp_path)
    with pytest.raises(RunDirectoryError, match="another monitor of this process"):
        RunLog(tmp_path)
    log.close()
    RunLog(tmp_path).close()


def test_a_run_directory_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunDirectoryError, match="is a file, not a directory"):
        RunLog(tmp_path / "file")


def test_a_second_process_can_follow_a_log_that_is_being_written(tmp_path: Path):
    log = RunLog(tmp_path)
    log.begin(None)
    tail = RunLogTail(tmp_path / "run.jsonl")
    assert [record["type"] for record in tail.poll()] == ["run"]
    log.write(Sample(1, {"loss": 1.0}))
    log.write(Sample(2, {"loss": 1.0}))
    assert [record["step"] for record in tail.poll()] == [1, 2]
    assert tail.poll() == []
    with (tmp_path / "run.jsonl").open("ab") as file:
        file.write(b'{"type":"sample","step":3,')
        file.flush()
        assert tail.poll() == [], "half a line is not a record yet"
        file.write(b'"metrics":{}}\n')
    assert [record["step"] for record in tail.poll()] == [3]
    log.close()


def test_a_full_disk_loses_nothing_once_there_is_room_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = RunLog(tmp_path)
    log.begin(None)
    for step in range(1, 11):
        log.write(Sample(step, {"loss": 2.0}))
    room = (tmp_path / "run.jsonl").stat().st_size + 20
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, unlimited[1]))
        for step in range(11, 41):
            log.write(Sample(step, {"loss": 2.0}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, before)
    for step in range(41, 201):
        log.write(Sample(step, {"loss": 2.0}))
    log.close()
    assert [sample.step for sample in read_run(tmp_path)] == list(range(1, 201))
    assert caplog.text.count("cannot write") == 1, "told once, not once a step"


def test_a_disk_that_stays_full_is_told_with_what_was_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "run.jsonl").symlink_to("/dev/full")
    log = RunLog(tmp_path)
    log.begin(None)
    for step in range(1, 101):
        log.write(Sample(step, {"loss": 2.0}))
    log.close()
    assert "No space left on device" in caplog.text
    assert "refused the last 101 lines" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        '{"type":"sample","step":"2","metrics":{}}',
        '{"type":"sample","step":2}',
        '{"type":"sample","step":2,"metrics":[]}',
        '{"type":"sample","step":2,"metrics":{"loss":"x"}}',
        '{"type":"sample","step":2,"metrics":{"loss":1' + "0" * 400 + "}}",
        '{"type":"sample","step":2,"metrics":{"loss":2},"meta":"x"}',
        '{"type":"sample","step":2,"metrics":{"loss":2},"tokens_seen":"many"}',
        '{"type":"sample","step":2,"metrics":{"loss":2},"time":[]}',
        '{"type":"sample","step":1' + "0" * 30 + ',"metrics":{"loss":2}}',
        '{"type":"sample","step":true,"metrics":{"loss":2}}',
        '{"type":7,"step":2}',
        pytest.param('{"type":"run","resumed_from":' + "9" * 5000 + "}", id="huge"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("\0" * 4096, id="zeros"),
    ],
)
def test_a_record_in_no_known_form_is_dropped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str):
    write_run(tmp_path, range(1, 4))
    path = tmp_path / "run.jsonl"
    path.write_text(path.read_text() + line + "\n")
    assert [sample.step for sample in read_run(tmp_path)] == [1, 2, 3]
    assert "dropped 1" in caplog.text


def test_events_that_this_version_cannot_read_are_dropped_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    log = RunLog(tmp_path)
    log.begin(None)
    event = Event(2, "loss-2", Change.OPENED, an_incident())
    log.write_events([event])
    log.close()
    path = tmp_path / "run.jsonl"
    newer = path.read_text().splitlines()[-1].replace(f'"kind":"{event.incident.kind}"', '"kind":"meltdown"')
    assert "meltdown" in newer
    path.write_text(path.read_text() + newer + "\n" + '{"type":"event","step":3}\n')
    assert list(read_events(path)) == [event]
    assert "dropped 2 records that are no events this version can read" in caplog.text


@pytest.mark.parametrize("how", ["replaced", "cut off", "cut off and longer again"])
def test_another_log_in_the_place_of_the_followed_one_is_read_from_its_beginning(tmp_path: Path, how: str):
    write_run(tmp_path / "run", range(1, 5))
    path = tmp_path / "run" / "run.jsonl"
    tail = RunLogTail(path)
    assert len(tail.poll()) == 5
    if how == "replaced":
        write_run(tmp_path / "other", range(1, 8))
        (tmp_path / "other" / "run.jsonl").rename(path)
    elif how == "cut off":
        path.write_text('{"type":"sample","step":1,"metrics":{}}\n')
    else:
        path.write_text('{"type":"run"}\n{"type":"sample","step":1,"metrics":{},"meta":{"long":"' + "x" * 999 + '"}}\n')
    records = tail.poll()
    assert tail.restarts == 1
    assert records[-1]["step"] == (7 if how == "replaced" else 1)
    assert tail.poll() == []
    assert tail.restarts == 1


def records_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def look_at_once(log: RunLog) -> None:
    """As if a second had passed since the log was last seen to be there."""
    log._next_look = 0.0


def test_a_run_directory_deleted_during_the_run_is_made_again_and_nothing_since_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run_dir = tmp_path / "run"
    log = RunLog(run_dir)
    log.begin(None, pid=7)
    for step in range(1, 11):
        log.write(Sample(step, {"loss": 2.0}))
    look_at_once(log)
    log.write(Sample(11, {"loss": 2.0}))
    shutil.rmtree(run_dir)
    for step in range(12, 15):
        log.write(Sample(step, {"loss": 2.0}))  # goes nowhere, and the system does not say so
    look_at_once(log)
    for step in range(15, 18):
        log.write(Sample(step, {"loss": 2.0}))
    log.end(17, "finished")
    log.close()
    first, *_, last = records_of(run_dir / "run.jsonl")
    assert (first["type"], first["resumed_from"], first["pid"], first["note"]) == ("run", 10, 7, "the log was deleted")
    assert [sample.step for sample in read_run(run_dir)] == [11, 12, 13, 14, 15, 16, 17]
    assert last["type"] == "end"
    assert caplog.text.count("was deleted while the run goes on") == 1


def test_it_takes_about_a_second_to_notice(tmp_path: Path):
    log = RunLog(tmp_path / "run")
    log.begin(None)
    log.write(Sample(1, {"loss": 2.0}))
    shutil.rmtree(tmp_path / "run")
    began = time.monotonic()
    step = 1
    while not (tmp_path / "run").exists():
        step += 1
        log.write(Sample(step, {"loss": 2.0}))
        time.sleep(0.01)
        assert time.monotonic() - began < 5
    log.close()
    assert [sample.step for sample in read_run(tmp_path / "run")] == list(range(1, step + 1))


def test_a_deletion_in_the_last_second_is_noticed_at_the_end(tmp_path: Path):
    log = RunLog(tmp_path / "run")
    log.begin(None)
    log.write(Sample(1, {"loss": 2.0}))
    shutil.rmtree(tmp_path / "run")
    log.write(Sample(2, {"loss": 2.0}))
    log.end(2, "finished")
    log.close()
    assert [sample.step for sample in read_run(tmp_path / "run")] == [1, 2]


def test_a_deleted_lock_is_made_again_and_keeps_others_out(tmp_path: Path):
    log = RunLog(tmp_path)
    log.begin(None)
    log.write(Sample(1, {"loss": 2.0}))
    (tmp_path / "run.lock").unlink()
    look_at_once(log)
    log.write(Sample(2, {"loss": 2.0}))
    code = f"from pretrain_monitor.runlog import RunLog; RunLog({str(tmp_path)!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "belongs to a live process" in other.stderr
    log.write(Sample(3, {"loss": 2.0}))
    log.close()
    assert [sample.step for sample in read_run(tmp_path)] == [1, 2, 3]


def test_a_log_that_was_replaced_by_a_copy_has_no_step_twice(tmp_path: Path):
    log = RunLog(tmp_path)
    log.begin(None)
    for step in range(1, 6):
        log.write(Sample(step, {"loss": 2.0}))
    path = tmp_path / "run.jsonl"
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    log.write(Sample(6, {"loss": 2.0}))
    look_at_once(log)
    log.write(Sample(7, {"loss": 2.0}))
    log.close()
    assert [sample.step for sample in read_run(tmp_path)] == list(range(1, 8))


def test_a_directory_that_cannot_be_made_again_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run_dir = tmp_path / "run"
    log = RunLog(run_dir)
    log.begin(None)
    log.write(Sample(1, {"loss": 2.0}))
    shutil.rmtree(run_dir)
    run_dir.write_text("in the way")
    look_at_once(log)
    for step in range(2, 101):
        log.write(Sample(step, {"loss": 2.0}))
    run_dir.unlink()
    for step in range(101, 201):
        log.write(Sample(step, {"loss": 2.0}))
    log.close()
    assert [sample.step for sample in read_run(run_dir)] == list(range(1, 201))
    assert caplog.text.count("cannot write (run directory") == 1


def test_a_deleted_directory_that_another_process_has_taken_since_is_left_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run_dir = tmp_path / "run"
    log = RunLog(run_dir)
    log.begin(None)
    log.write(Sample(1, {"loss": 2.0}))
    shutil.rmtree(run_dir)
    with another_process_that_owns(run_dir) as pid:
        look_at_once(log)
        log.write(Sample(2, {"loss": 2.0}))
        log.close()
    assert [(sample.step, sample.metrics["loss"]) for sample in read_run(run_dir)] == [(1, 9.0)]
    assert f"belongs to a live process (pid {pid})" in caplog.text
    assert "they are lost" in caplog.text
