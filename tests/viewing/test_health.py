from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pretrain_monitor import Monitor, Sample
from pretrain_monitor.telemetry import Incident, Kind, Severity, Status
from pretrain_monitor.viewing.health import State, is_held, judge
from pretrain_monitor.viewing.sessions import End
from pretrain_monitor.viewing.summary import RunSummary


def incident(kind: Kind, severity: Severity, status: Status = Status.OPEN, step: int = 10) -> Incident:
    return Incident(
        f"{kind}-{step}",
        kind,
        severity,
        status,
        ("loss",),
        step,
        step,
        step,
        None,
        2.0,
        3.0,
        9.0,
        0.5,
        1.0,
        {},
        f"{kind} at {step}",
    )


def state(*incidents: Incident, **given: object) -> State:
    facts: dict[str, object] = {"step": 100, "age_s": 1.0, "interval_s": 1.0, "end": None, "is_alive": True}
    return judge(incidents, **{**facts, **given}).state  # type: ignore[arg-type]


SPIKE = incident(Kind.SPIKE, Severity.WARNING)
DIVERGED = incident(Kind.DIVERGENCE, Severity.CRITICAL)


@pytest.mark.parametrize(
    ("incidents", "given", "expected"),
    [
        ((), {}, State.HEALTHY),
        ((), {"step": None, "age_s": None}, State.EMPTY),
        ((SPIKE,), {}, State.INCIDENT),
        ((SPIKE, DIVERGED), {}, State.DIVERGED),
        ((incident(Kind.NOISE_CHANGE, Severity.INFO),), {}, State.HEALTHY),
        ((incident(Kind.PLATEAU, Severity.INFO),), {}, State.STALLED),
        ((incident(Kind.SPIKE, Severity.WARNING, Status.RECOVERED),), {}, State.HEALTHY),
        ((), {"age_s": 100.0}, State.HEALTHY),
        ((), {"age_s": 600.0}, State.STALLED),
        ((), {"age_s": 600.0, "is_alive": False}, State.SILENT),
        ((), {"age_s": 600.0, "is_alive": None}, State.SILENT),
        ((), {"age_s": 600.0, "interval_s": 60.0}, State.HEALTHY),
        ((), {"end": End(100, 0.0, "finished"), "age_s": 9e9}, State.FINISHED),
        ((), {"end": End(100, 0.0, "stopped by KeyboardInterrupt")}, State.ENDED),
        (
            (incident(Kind.NONFINITE, Severity.CRITICAL, Status.ENDED_RUN),),
            {"end": End(100, 0.0, "finished")},
            State.DIVERGED,
        ),
        (
            (incident(Kind.SPIKE, Severity.WARNING, Status.ENDED_RUN),),
            {"end": End(100, 0.0, "finished")},
            State.FINISHED,
        ),
    ],
)
def test_the_worst_that_holds_is_the_state(incidents: tuple[Incident, ...], given: dict[str, object], expected: State):
    assert state(*incidents, **given) is expected


def test_the_sentence_names_what_is_open_and_what_did_not_come_back():
    found = judge([SPIKE, DIVERGED], step=100, age_s=1.0, interval_s=1.0, end=None, is_alive=True)
    assert found.text == "divergence at 10 (and 1 more open)"
    lasting = incident(Kind.LEVEL_SHIFT, Severity.WARNING, Status.PERSISTENT)
    found = judge([lasting], step=100, age_s=1.0, interval_s=1.0, end=None, is_alive=True)
    assert found.text == "nothing open; 1 alert did not come back: the loss is higher since then"


def test_the_process_that_holds_a_run_is_seen_without_touching_its_lock(tmp_path: Path):
    assert is_held(tmp_path) is None  # no lock at all
    program = (
        "import sys; from pretrain_monitor.rundir import RunDirectoryLock\n"
        "lock = RunDirectoryLock(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "held\n"
        assert is_held(tmp_path) is True
        process.stdin.close()
        process.wait(20)
    assert is_held(tmp_path) is False


def test_the_state_of_a_run_follows_what_its_log_says(tmp_path: Path):
    monitor = Monitor(tmp_path, {"console": {"enabled": False}, "tensorboard": {"enabled": False}})
    monitor.start()
    monitor.observe(Sample(1, {"loss": 2.0}))
    summary = RunSummary(tmp_path / "run.jsonl")

    def now() -> State:
        summary.read()
        age = time.time() - summary.time if summary.time is not None else math.inf
        return judge(
            summary.incidents,
            step=summary.step,
            age_s=age,
            interval_s=None,
            end=summary.end,
            is_alive=is_held(tmp_path),
        ).state

    assert now() is State.HEALTHY
    monitor.observe(Sample(2, {"loss": math.nan}))
    assert now() is State.DIVERGED
    monitor.finish()
    assert now() is State.DIVERGED
