from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from loopback import until
from test_telemetry import an_incident

from pretrain_monitor import Event, Incident, Sample, Severity
from pretrain_monitor.actions.orders import ActionRecord
from pretrain_monitor.config import ConfigError
from pretrain_monitor.sinks.dispatch import SinkThread
from pretrain_monitor.sinks.trackers import TrackerSink
from pretrain_monitor.telemetry import Change, Status

PROGRAM = str(Path(__file__).with_name("tracker_program.py"))
EXPECTED = "pretrain_monitor/loss/expected"
OFFLINE = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def run_program(tracker: str, folder: Path, finish: str = "late") -> dict[str, Any]:
    environment = {**os.environ, **OFFLINE, "TRACKIO_DIR": str(folder / "trackio")}
    done = subprocess.run(
        [sys.executable, PROGRAM, tracker, finish],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr, done.stderr
    return json.loads(done.stdout.rpartition("FOUND ")[2])


@pytest.mark.parametrize("finish", ["late", "early"])
def test_wandb_gets_trends_and_alerts_and_loses_no_row_of_the_program(tmp_path: Path, finish: str):
    found = run_program("wandb", tmp_path, finish)
    assert [row["_step"] for row in found["rows"] if "loss" in row] == list(range(1, 401))
    ours = [row for row in found["rows"] if EXPECTED in row]
    assert len(ours) >= 4
    assert all(row["pretrain_monitor/loss/lower"] < row[EXPECTED] < 6 for row in ours)
    assert all(row["pretrain_monitor/step"] <= row["_step"] for row in ours)
    assert found["steps_of"][EXPECTED] == "pretrain_monitor/step"
    opened, closed = found["alerts"]
    assert opened[0].startswith("WARNING: ")
    assert "at step 300" in opened[0]
    assert "What to do: " in opened[1]
    assert (opened[2], closed[2]) == ("WARN", "INFO")
    assert "has recovered" in closed[1]
    assert {milliseconds for *_, milliseconds in found["alerts"]} == {1}  # of silence after it; none would be a minute
    assert "at step 300" in found["summary"]["pretrain_monitor/last_alert"]
    assert found["summary"]["pretrain_monitor/incidents/warning"] == 1


@pytest.mark.parametrize("finish", ["late", "early"])
def test_trackio_gets_trends_and_alerts_and_counts_steps_as_it_did(tmp_path: Path, finish: str):
    found = run_program("trackio", tmp_path, finish)
    assert [row["step"] for row in found["rows"] if "loss" in row] == list(range(400))
    ours = [row for row in found["rows"] if EXPECTED in row]
    assert len(ours) >= 4
    assert {row["pretrain_monitor/step"] for row in ours} >= {101, 151, 201}
    levels = sorted(level for _, _, level in found["alerts"])
    assert levels == ["info", "warn"]
    assert all("at step 300" in title for title, _, _ in found["alerts"])


@pytest.mark.parametrize("finish", ["late", "early"])
def test_the_active_mlflow_run_is_written_to_from_another_thread(tmp_path: Path, finish: str):
    found = run_program("mlflow", tmp_path, finish)
    check_mlflow(found)
    assert [step for step, _ in found["history"]["loss"]] == list(range(20, 401, 20))


def check_mlflow(found: dict[str, Any]) -> None:
    steps = [step for step, _ in found["history"][EXPECTED]]
    assert set(steps) >= {101, 151, 201}
    assert found["history"]["pretrain_monitor/incidents/warning"][-1][1] == 1
    (alert,) = [text for name, text in found["tags"].items() if name.startswith("pretrain_monitor/alert/")]
    assert found["tags"]["pretrain_monitor/last_alert"] == alert
    assert "at step 300" in alert
    assert "has recovered" in alert
    assert found["status"] == "FINISHED"


def test_loggers_of_lightning_are_written_to_and_lose_nothing_of_the_trainer(tmp_path: Path):
    found = run_program("lightning", tmp_path)
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert [int(row["step"]) for row in rows if row["loss"]] == list(range(1, 401))
    assert {int(row["step"]) for row in rows if row[EXPECTED]} >= {101, 151, 201}
    check_mlflow(found["mlflow"])


def test_no_run_is_started(tmp_path: Path):
    assert run_program("idle", tmp_path) == {"runs": [None, None, None], "files": []}


def test_nothing_is_imported(tmp_path: Path):
    assert run_program("absent", tmp_path) == {"imported": []}


class Logger:
    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.threads: set[int] = set()

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))
        self.threads.add(threading.get_ident())


class FailingLogger:
    def __init__(self) -> None:
        self.calls = 0

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.calls += 1
        raise OSError("disk full")


def event(change: Change, incident: Incident, step: int = 905) -> Event:
    return Event(step, incident.id, change, incident)


def test_a_logger_that_fails_is_told_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture):
    failing, good = FailingLogger(), Logger()
    sink = TrackerSink([failing, good], every_steps=1)
    for step in range(1, 6):
        sink.on_sample(Sample(step, {"loss": 2.0}))
        sink.on_handover()
    assert failing.calls == 1
    assert [step for step, _ in good.logged] == [1, 2, 3, 4, 5]
    assert len(caplog.records) == 1
    assert "FailingLogger failed" in caplog.text
    assert "disk full" in caplog.text


def test_loggers_are_used_in_the_thread_of_the_training_and_at_the_end_get_the_rest():
    logger = Logger()
    thread = SinkThread(TrackerSink([logger], every_steps=1))
    for step in range(1, 4):
        thread.put(Sample(step, {"loss": 2.0}), [])

    def have_come() -> bool:
        thread.put(None, [])
        return len(logger.logged) == 3

    assert until(have_come)
    assert logger.threads == {threading.get_ident()}
    thread.put(Sample(4, {"loss": 2.0}), [])
    thread.close(10)
    assert [step for step, _ in logger.logged] == [1, 2, 3, 4]


def test_curves_have_a_point_every_so_many_steps_of_what_is_known_by_then():
    logger = Logger()
    sink = TrackerSink([logger], every_steps=10)
    for step in range(1, 26):
        band = {"loss/expected": float(step), "loss/lower": 0.5, "loss/upper": float("inf")} if step > 5 else {}
        sink.on_sample(Sample(step, {"loss": 2.0, **band}))
    sink.on_handover()
    counts = {f"pretrain_monitor/incidents/{severity.value}": 0.0 for severity in Severity}
    counts["pretrain_monitor/open_alerts"] = 0.0
    assert logger.logged == [
        (1, counts),
        (11, {EXPECTED: 11.0, "pretrain_monitor/loss/lower": 0.5, **counts}),
        (21, {EXPECTED: 21.0, "pretrain_monitor/loss/lower": 0.5, **counts}),
    ]


def test_incidents_are_counted_where_they_stand_and_not_once_the_run_has_gone_back_behind_them():
    logger = Logger()
    sink = TrackerSink([logger], every_steps=1000)

    def told(change: Change, **facts: Any) -> tuple[float, float]:
        one = an_incident(**{"severity": Severity.WARNING, "status": Status.OPEN, "detected_step": 905, **facts})
        sink.on_event(event(change, one))
        sink.on_handover()
        values = logger.logged[-1][1]
        return values["pretrain_monitor/incidents/warning"], values["pretrain_monitor/open_alerts"]

    assert told(Change.OPENED, id="a") == (1, 1)
    assert told(Change.OPENED, id="b") == (2, 2)
    assert told(Change.CLOSED, id="a", status=Status.RECOVERED) == (2, 1)
    sink.on_action(ActionRecord(500, 0.0, "rewind", "done", "", "b", {}))
    assert told(Change.OPENED, id="b") == (1, 1)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"loggers": [object()]}, r"loggers\[0\] = .* has no log_metrics"),
        ({"every_steps": 0}, "every_steps=0"),
        ({"minimum_severity": "bad"}, "choose one of info, warning, critical"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], line: str):
    with pytest.raises(ConfigError, match=line):
        TrackerSink(**settings)
