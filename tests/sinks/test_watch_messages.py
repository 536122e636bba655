"""Messages by ``pretrain-monitor watch --notify`` and ``notify-test``: real processes, a real webhook."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import COMMAND, cli, is_one_line
from loopback import Web, until

JOB = """
import sys, time
from pretrain_monitor import Monitor, Sample
monitor = Monitor(sys.argv[1], {"console": {"enabled": False}, "tensorboard": {"enabled": False}})
start = int(sys.argv[3]) if len(sys.argv) > 3 else 0
monitor.start(start)
for step in range(start + 1, start + 200):
    monitor.observe(Sample(step, {"loss": float("nan") if step == 20 else 2.0}))
    if step == start + 40:
        print("there", flush=True)
        if sys.argv[2] != "finish":
            time.sleep(600)
monitor.finish()
"""


@pytest.fixture
def web() -> Iterator[Web]:
    with_web = Web()
    yield with_web
    with_web.close()


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def a_job(run_dir: Path, started: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    job = subprocess.Popen([sys.executable, "-c", JOB, str(run_dir), *arguments], stdout=subprocess.PIPE, text=True)
    started.append(job)
    assert job.stdout is not None
    assert job.stdout.readline() == "there\n"
    return job


def a_watch(run_dir: Path, web: Web, started: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HOOK": web.url()}
    command = [*COMMAND, "watch", str(run_dir), "--every", "0.2", "--notify", "${HOOK}", *arguments]
    watch = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    started.append(watch)
    return watch


@pytest.mark.skipif(sys.platform != "linux", reason="who holds a lock is read from /proc")
def test_a_job_that_is_killed_and_goes_on_is_told_from_outside(
    web: Web, started: list[subprocess.Popen[str]], tmp_path: Path
):
    run_dir = tmp_path / "night"
    job = a_job(run_dir, started, "stay")
    watch = a_watch(run_dir, web, started, "--stalled-minutes", "60")
    assert until(lambda: len(web.taken) == 1, 120), "what is still open is told"
    assert web.titles[0] == "night: CRITICAL: nonfinite at step 20"
    job.send_signal(signal.SIGKILL)
    assert until(lambda: len(web.taken) == 2, 120), web.titles
    assert web.titles[1] == "night: ended without a word: its process is gone at step 40"
    a_job(run_dir, started, "finish", "40")
    assert until(lambda: len(web.taken) == 4, 60), (web.titles, (run_dir / "run.jsonl").read_text()[-300:])
    assert web.titles[2] == "night: nonfinite at step 20: recovered"
    assert web.titles[3] == "night: finished at step 239"
    assert watch.wait(30) == 0
    assert watch.stderr is not None
    assert "HOOK" not in watch.stderr.read()
    assert (run_dir / "notified-by-watch.jsonl").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="who holds a lock is read from /proc")
def test_a_job_that_hangs_is_told_once(web: Web, started: list[subprocess.Popen[str]], tmp_path: Path):
    run_dir = tmp_path / "night"
    a_job(run_dir, started, "stay")
    a_watch(run_dir, web, started, "--stalled-minutes", "0.05")
    assert until(lambda: len(web.taken) == 2, 120)
    said = re.fullmatch(r"night: no step for (\d+) s, since step 40", web.titles[1])
    assert said is not None
    assert 3 <= int(said[1]) < 15, "a busy machine looks late"
    assert web.taken[1]["message"].startswith("Its process is still there: it may hang.")


def test_notify_test_sends_one_of_each_kind_and_says_what_arrived(web: Web):
    done = cli("notify-test", "--notify", web.url())
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(web.taken) == 9
    assert lines[0] == "json#1: an incident begins: sent"
    assert web.taken[0]["attachments"]
    assert all("This is only a test" in message["message"] for message in web.taken)


def test_notify_test_fails_where_something_does_not_arrive(web: Web, tmp_path: Path):
    broken = Web(500)
    config = tmp_path / "config.yaml"
    config.write_text(f"notify:\n  pictures: false\n  urls: ['{web.url()}', '{broken.url('me:hunter2@')}']\n")
    done = cli("notify-test", "--config", str(config))
    broken.close()
    assert done.returncode == 1
    assert "json#2: it is over: NOT SENT" in done.stdout
    assert done.stdout.count("json#1") == 9
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["notify-test"], "notify-test: give --notify ADDRESS, or --config FILE with notify: urls: in it"),
        (["notify-test", "--notify", "me:hunter2@nowhere"], "notify.urls[0] (***): no service that apprise knows"),
        (["notify-test", "--notify", "json://${NOT_SET_ANYWHERE}"], "notify.urls: ${NOT_SET_ANYWHERE} is not set"),
        (["watch", "RUN", "--notify", "foo://x"], "notify.urls[0] (foo://***): no service that apprise knows"),
        (["watch", "RUN", "--notify", "json://x", "--stalled-minutes", "-1"], "config: notify.stalled_minutes = -1.0"),
        (["watch", "RUN", "--once", "--notify", "json://x"], "--once only prints what is there"),
    ],
)
def test_a_users_mistake_is_one_line(arguments: list[str], line: str, tmp_path: Path):
    (tmp_path / "run.jsonl").write_text('{"type":"run","version":1,"resumed_from":null}\n')
    done = cli(*(str(tmp_path) if argument == "RUN" else argument for argument in arguments))
    assert is_one_line(done, f"error: {line}")
    assert "hunter2" not in done.stderr
