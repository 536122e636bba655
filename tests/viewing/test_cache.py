from __future__ import annotations

import os
from pathlib import Path

import pytest
from curves import healthy_run, samples

from pretrain_monitor import Monitor, Sample
from pretrain_monitor.lines import line, sample_line
from pretrain_monitor.viewing import cache
from pretrain_monitor.viewing.run_log import RunLogFollower

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "_WORTH_BYTES", 1000)
    run = healthy_run(1200, seed=0)
    run["loss"][700:730] += 1.0
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    for sample in samples(run):
        monitor.observe(sample)
    monitor.finish()
    return tmp_path / "run.jsonl"


def read(log: Path) -> RunLogFollower:
    follower = RunLogFollower(log)
    while follower.read():
        pass
    return follower


def facts(follower: RunLogFollower) -> object:
    content = follower.content
    return (
        {name: (one.steps.tolist(), one.values.tolist()) for name, one in content.series.items()},
        content.times.values.tolist(),
        [one.to_json() for one in content.incidents],
        [[event.to_json() for event in content.history(one.id)] for one in content.incidents],
        content.end,
        content.samples,
        content.sessions,
    )


def test_what_comes_from_the_cache_is_what_comes_from_the_log(log: Path):
    first = read(log)
    first.save()
    assert cache.path_for(log).exists()
    again = RunLogFollower(log)
    assert again.tail.offset == log.stat().st_size  # nothing is left to be read
    assert facts(again) == facts(first)


def test_a_log_that_goes_on_is_read_from_where_the_cache_ends(log: Path):
    read(log).save()
    with log.open("ab") as file:
        file.write(line("run", {"version": 1, "resumed_from": 600, "time": 5.0}))
        file.write(b"".join(sample_line(Sample(step, {"loss": 1.0}, time=6.0)) for step in range(601, 700)))
    found = read(log)
    cache.path_for(log).unlink()
    assert facts(found) == facts(read(log))
    assert found.content.last_step == 699


@pytest.mark.parametrize("damage", ["cut", "garbage", "header", "other log", "shorter log", "pickle"])
def test_a_cache_that_does_not_hold_is_not_used(log: Path, damage: str):
    expected = facts(read(log))
    read(log).save()
    path = cache.path_for(log)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        head = data.index(b"\n") + 1
        path.write_bytes(data[:head] + os.urandom(len(data) - head))
    elif damage == "header":
        path.write_bytes(b"[1]\n" + data)
    elif damage == "pickle":
        path.write_bytes(data.replace(b"'<i8'", b"'|O' "))
    elif damage == "other log":
        text = log.read_bytes()
        log.write_bytes(text.replace(b'"loss"', b'"lost"', 1))
        expected = facts(read(Path(log)))
        path.write_bytes(data)
    else:
        os.truncate(log, log.read_bytes().rindex(b'{"type":"end"'))
        path.unlink()
        expected = facts(read(log))
        path.write_bytes(data)
    assert facts(read(log)) == expected


def test_a_directory_that_cannot_be_written_has_none_and_nothing_is_said(
    log: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # these tests may run as root, who may write anywhere
    before = sorted(entry.name for entry in log.parent.iterdir())
    read(log).save()
    assert sorted(entry.name for entry in log.parent.iterdir()) == before
    assert not caplog.records


def test_a_short_log_is_not_worth_one(log: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    read(log).save()
    assert not cache.path_for(log).exists()


def test_it_is_made_anew_when_the_log_has_grown_by_a_third(log: Path):
    follower = read(log)
    follower.save()
    made = cache.path_for(log).stat().st_mtime_ns
    with log.open("ab") as file:
        file.write(sample_line(Sample(1201, {"loss": 1.0}, time=6.0)))
    follower.read()
    follower.save()
    assert cache.path_for(log).stat().st_mtime_ns == made
    with log.open("ab") as file:
        file.write(b"".join(sample_line(Sample(step, {"loss": 1.0}, time=6.0)) for step in range(1202, 3500)))
    follower.read()
    follower.save()
    assert RunLogFollower(log).tail.offset == log.stat().st_size
