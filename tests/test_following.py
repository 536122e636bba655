"""Watching a run from outside the job, with a real log and a real process."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import COMMAND, cli, is_one_line
from test_telemetry import an_incident

from pretrain_monitor import Event, Monitor, Sample
from pretrain_monitor.telemetry import Change

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
RUN = {"type": "run", "version": 1, "resumed_from": None}


def a_sample(step: int) -> dict:
    return {"type": "sample", "step": step, "metrics": {"loss": 2.0}}


def an_event(step: int, message: str) -> dict:
    incident = an_incident(id=f"loss-{step}", onset_step=step, detected_step=step, message=message)
    return {"type": "event", **Event(step, incident.id, Change.OPENED, incident).to_json()}


def write_log(run_dir: Path, *records: object) -> None:
    run_dir.mkdir(exist_ok=True)
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    (run_dir / "run.jsonl").write_text("".join(f"{line}\n" for line in lines))


class Watching:
    """A ``pretrain-monitor watch`` that is running, and what it has printed so far."""

    def __init__(self, run_dir: Path) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "watch", str(run_dir), "--every", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._threads = [threading.Thread(target=self._read, args=(name,)) for name in self.lines]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str) -> None:
        with getattr(self.process, name) as stream:
            for line in stream:
                self.lines[name].append(line)

    def text(self, name: str = "stdout") -> str:
        return " ".join("".join(self.lines[name]).split())

    def wait_for(self, words: str, name: str = "stdout") -> None:
        deadline = time.monotonic() + 30
        while words not in self.text(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert words in self.text(name), self.lines

    def end(self) -> int:
        """The exit code of a watch that ends by itself."""
        code = self.process.wait(30)
        for thread in self._threads:
            thread.join()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.end()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watching]:
    """A watch on ``tmp_path/run`` that has shown the alert of step 5."""
    write_log(tmp_path / "run", RUN, a_sample(4), an_event(5, "first alert"))
    watching = Watching(tmp_path / "run")
    watching.wait_for("first alert")
    yield watching
    watching.kill()


def test_the_alerts_of_a_finished_run_are_told_and_that_is_all(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    for step in range(1, 701):
        monitor.observe(Sample(step, {"loss": float("nan") if step == 601 else 2.0}))
    monitor.finish()
    done = cli("watch", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "loss became NaN at step 601" in " ".join(done.stdout.split())
    assert "step 700: finished" in done.stdout


def test_a_run_is_followed_while_it_is_written(tmp_path: Path):
    monitor = Monitor(tmp_path / "run", QUIET)
    monitor.start()
    monitor.observe(Sample(1, {"loss": float("nan")}))
    watching = Watching(tmp_path / "run")
    try:
        watching.wait_for("loss became NaN at step 1")
        for step in range(2, 401):
            monitor.observe(Sample(step, {"loss": 2.0}))
        monitor.observe(Sample(401, {"loss": float("nan")}))
        watching.wait_for("loss became NaN at step 401")
        assert watching.process.poll() is None, "it goes on watching"
        monitor.finish()
        assert watching.end() == 0
    finally:
        watching.kill()
    assert "finished" in watching.text()


def test_records_that_cannot_be_read_are_passed_over_and_told_once(tmp_path: Path):
    good = an_event(9, "the good one")
    newer = {**good["incident"], "kind": "meltdown"}
    write_log(
        tmp_path, RUN, a_sample(1),
        "no JSON", "[1, 2]", "{}", '{"type": 5}', '{"type": "event", "step": "a"}',
        {"type": "event", "step": 2},
        {**good, "incident_id": None},
        {**good, "incident": newer},
        {**good, "incident": {**good["incident"], "severity": "apocalyptic"}},
        {**good, "incident": {**good["incident"], "signals": []}},
        {**good, "incident": {**good["incident"], "onset_step": "a"}},
        {**good, "incident": {**good["incident"], "message": 7}},
        {**good, "incident": {**good["incident"], "expected": "much"}},
        {**good, "incident": 3},
        {"type": "from a newer version", "step": 8},
        good,
        {"type": "end"},
    )  # fmt: skip
    done = cli("watch", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "passing over what this version cannot read" in done.stderr
    assert "the good one" in done.stdout
    assert done.stdout.endswith("step 9: ended, no reason is given\n")


@pytest.mark.parametrize("bad", ['{"type":"sam', '{"type": "sample", "step": "a"}', '{"type": "event", "step": 2}'])
def test_each_kind_of_damage_is_told(tmp_path: Path, bad: str):
    write_log(tmp_path, RUN, a_sample(1), bad, a_sample(2))
    done = cli("watch", tmp_path, "--once")
    assert (done.returncode, done.stdout) == (0, "step 2: still open\n")
    assert done.stderr.count("passing over") == 1


def test_texts_of_a_log_reach_the_terminal_without_control_characters(tmp_path: Path):
    end = {"type": "end", "step": 5, "reason": "\x1b[2J" + "x" * 5000}
    write_log(tmp_path, RUN, an_event(5, "\x1b[31mred \ud800"), end)
    done = cli("watch", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[31mred" in done.stdout
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()[-1]) < 250


def test_a_log_that_is_replaced_is_followed_from_its_beginning(tmp_path: Path, watched: Watching):
    write_log(tmp_path / "other", RUN, *map(a_sample, range(1, 40)), an_event(5, "alert of the other run"))
    (tmp_path / "other" / "run.jsonl").rename(tmp_path / "run" / "run.jsonl")
    watched.wait_for("alert of the other run")
    watched.kill()
    assert watched.text("stderr").count("was replaced or cut off; reading it from its beginning") == 1


def test_a_log_that_is_cut_off_is_followed_from_its_beginning(tmp_path: Path, watched: Watching):
    (tmp_path / "run" / "run.jsonl").write_text("")
    watched.wait_for("was replaced or cut off", "stderr")
    with (tmp_path / "run" / "run.jsonl").open("a") as file:
        file.write(json.dumps(an_event(5, "alert after the cut")) + "\n")
    watched.wait_for("alert after the cut")


def test_a_run_directory_that_vanishes_ends_the_watch_with_one_line(tmp_path: Path, watched: Watching):
    shutil.rmtree(tmp_path / "run")
    assert watched.end() == 2
    assert watched.lines["stderr"] == [f"error: {tmp_path / 'run' / 'run.jsonl'}: the run log is gone\n"]


def test_a_log_that_cannot_be_read_any_more_ends_the_watch_with_one_line(tmp_path: Path, watched: Watching):
    log = tmp_path / "run" / "run.jsonl"
    log.unlink()
    log.mkdir()
    assert watched.end() == 2
    assert watched.lines["stderr"][-1] == f"error: {log}: cannot be read: Is a directory\n"


def test_somebody_elses_log_is_refused_with_the_command_that_reads_it(tmp_path: Path):
    (tmp_path / "log.csv").write_text("step,loss\n1,2.0\n")
    assert is_one_line(cli("watch", tmp_path / "log.csv", timeout=30), "not a run log", "replay")
