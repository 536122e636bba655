"""Runs as trackers keep and export them, written by the trackers themselves where they can write without a network."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pretrain_monitor import Sample, read_run
from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.notes import ReadNotes

OFFLINE = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
WANDB = """
import wandb
for name, loss in (("first", 4.0), ("second", 3.0)):
    run = wandb.init(project="p", id=name)
    for step in range(1, 41):
        row = {"train/loss": loss if step != 3 else float("nan"), "train/global_step": 10 * step, "note": "x" * 2000}
        run.log({**row, "nested": {"deep": 2.5}, "picture": [1, 2], "is_well": True})
    run.finish()
"""
TRACKIO = """
import trackio
for loss in (4.0, 3.0):
    trackio.init(project="p", name="same", auto_log_gpu=False, auto_log_cpu=False)
    for step in range(1, 6):
        trackio.log({"train/loss": loss if step != 3 else float("nan"), "note": "x"}, step=step)
    trackio.finish()
"""
MLFLOW = """
import mlflow
for name, loss in (("first", 4.0), ("second", 3.0), ("gone", 2.0)):
    with mlflow.start_run(run_name=name) as run:
        for step in range(1, 6):
            mlflow.log_metrics({"train/loss": loss, "lr": 0.5}, step=step)
mlflow.MlflowClient().delete_run(run.info.run_id)
"""


def written_by(program: str, folder: Path) -> None:
    environment = {**os.environ, **OFFLINE, "TRACKIO_DIR": str(folder / "trackio")}
    environment["MLFLOW_TRACKING_URI"] = f"file://{folder}/mlruns"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def read(path: Path | str) -> tuple[list[Sample], ReadNotes]:
    notes = ReadNotes()
    return list(read_run(path, notes=notes)), notes


@pytest.fixture(scope="module")
def wandb_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wandb")
    written_by(WANDB, folder)
    return folder / "wandb"


def test_what_wandb_keeps_on_disk(wandb_dir: Path):
    samples, notes = read(wandb_dir)
    assert notes.source == "run of W&B"
    assert [sample.step for sample in samples] == list(range(10, 410, 10))
    assert dict(samples[0].metrics) == {"loss": 3.0, "nested.deep": 2.5} and math.isnan(samples[2].metrics["loss"])
    assert samples[0].time == pytest.approx(samples[-1].time, abs=120)
    assert "2 runs in it; this is number 2, second" in notes.sentences[0]
    (file,) = wandb_dir.glob("*/run-first.wandb")
    expected = read(file)[0]
    assert expected[0].metrics["loss"] == 4.0
    for name in ("#1", "#first", "#f"):
        assert str(read(f"{wandb_dir}{name}")[0]) == str(expected)
    assert str(read(file.parent)[0]) == str(expected)
    with pytest.raises(LogError, match="no run third; there are first, second"):
        read(f"{wandb_dir}#third")


def test_a_file_of_wandb_that_is_cut_off_or_damaged(wandb_dir: Path, tmp_path: Path):
    (file,) = wandb_dir.glob("*/run-first.wandb")
    data = file.read_bytes()
    assert len(data) > 2 * 32768  # records that run over the end of a block
    cut = tmp_path / "cut.wandb"
    for size in range(3000, len(data), 1517):
        cut.write_bytes(data[:size])
        try:
            samples, notes = read(cut)
        except LogError as refused:
            assert "nothing was logged" in str(refused)
            continue
        assert [sample.step for sample in samples] == [10 * step for step in range(1, len(samples) + 1)]
    assert len(samples) > 30 and "cut off after row" in " ".join(notes.sentences)
    damaged = bytearray(data)
    damaged[40_000:40_008] = b"\xff" * 8
    cut.write_bytes(damaged)
    samples, notes = read(cut)
    assert 0 < len(samples) < 40 and "damaged or cut off after row" in notes.sentences[-1]


@pytest.mark.parametrize(
    "value",
    [
        (5, 0, b"\x05", -3.0),  # integer, as protobuf spells signed ones
        (6, 1, struct.pack("<d", 2.5), 2.5),
        (16, 2, b"\x032.5", 2.5),
        (16, 2, b"\x03NaN", None),
        (7, 2, b"\x01x", None),
    ],
)
def test_values_of_wandb_in_each_spelling(tmp_path: Path, value: tuple[int, int, bytes, float | None]):
    field, kind, content, expected = value

    def item(name: bytes, spelled: bytes) -> bytes:
        inner = b"\x12" + bytes([len(name)]) + name + spelled
        return b"\x0a" + bytes([len(inner)]) + inner

    tag = bytes([(field << 3 | kind) & 127 | (128 if field > 15 else 0), *([field >> 4] if field > 15 else [])])
    items = item(b"_step", b"\x28\x0e") + item(b"loss", b"\x28\x04") + item(b"x", tag + content)
    record = b"\x12" + bytes([len(items)]) + items
    path = tmp_path / "run-x.wandb"
    path.write_bytes(b":W&B\xe1\xbe\0" + struct.pack("<IHB", 0, len(record), 1) + record)
    (sample,), _ = read(path)
    assert (sample.step, sample.metrics["loss"], sample.metrics.get("x")) == (7, 2.0, expected)


def test_a_table_of_wandb_with_several_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "export.csv"
    runs = ("sun-1", "sea - two", "sky-3")
    names = [
        f"{run} - {name}" for run in runs for name in ("_step", "train/loss", "train/loss__MIN", "train/loss__MAX")
    ]
    rows = [["train/global_step", *names]]
    for step in range(1, 6):
        rows.append([str(step)])
        for number in range(3):
            low = "2.0" if step == 4 and number == 2 else f"{number}.5"
            rows[-1] += ["99", f"{number}.5", low, f"{number}.5"]
    path.write_text("\n".join(",".join(f'"{cell}"' for cell in row) for row in rows) + "\n")
    samples, notes = read(path)
    assert notes.source == "W&B export"
    assert samples == [Sample(step, {"loss": 2.5}) for step in range(1, 6)]
    assert "3 runs in it; this is number 3, sky-3" in notes.sentences[0]
    assert "averaged over several steps in this export, rows: 1; spikes are smaller" in notes.sentences[1]
    assert "3 runs in it" in caplog.text
    caplog.clear()
    assert read(f"{path}#sea - two")[0] == read(f"{path}#2")[0] == [Sample(k, {"loss": 1.5}) for k in range(1, 6)]
    assert not caplog.records  # who asks for a run knows that there are several
    with pytest.raises(LogError, match="more than one run s: numbers 1, 2, 3"):
        read(f"{path}#s")


@pytest.mark.parametrize("names", [("_step", "train/global_step"), ("train/global_step", "_step")])
def test_the_calls_of_wandb_are_no_steps_where_steps_are_logged(tmp_path: Path, names: tuple[str, str]):
    path = tmp_path / "history.jsonl"
    values: dict[str, Any] = {"_step": 70, "train/global_step": 5}
    first = ", ".join(f'"{name}": {values[name]}' for name in names)
    path.write_text(f'{{{first}, "_runtime": 1.0, "train/loss": 3.5}}\n{{"_step": 71, "eval/loss": 9.0}}\n')
    samples, notes = read(path)
    assert samples == [Sample(5, {"loss": 3.5})] and notes.source == "W&B export"


def test_runs_of_one_name_in_a_database_of_trackio(tmp_path: Path):
    written_by(TRACKIO, tmp_path)
    path = tmp_path / "trackio" / "p.db"
    samples, notes = read(path)
    assert notes.source == "trackio database"
    assert [sample.step for sample in samples] == [1, 2, 3, 4, 5]
    assert samples[0].metrics == {"loss": 3.0} and math.isnan(samples[2].metrics["loss"])
    assert read(f"{path}#1")[0][0].metrics == {"loss": 4.0}
    assert "2 runs in it; this is number 2, same" in notes.sentences[0]
    with pytest.raises(LogError, match="more than one run same: numbers 1, 2"):
        read(f"{path}#same")


def test_runs_of_an_experiment_of_mlflow(tmp_path: Path):
    written_by(MLFLOW, tmp_path)
    samples, notes = read(tmp_path / "mlruns")
    assert notes.source == "MLflow metrics"
    assert samples == [Sample(step, {"loss": 3.0, "learning_rate": 0.5}) for step in range(1, 6)]
    assert "2 runs in it; this is number 2, second" in notes.sentences[0]  # the one that was deleted does not count
    (experiment,) = {facts.parent.parent for facts in (tmp_path / "mlruns").glob("*/*/meta.yaml")}
    assert read(f"{experiment}#first")[0][0].metrics["loss"] == 4.0
    assert "2 runs" not in " ".join(read(next(experiment.glob("*/meta.yaml")).parent)[1].sentences)


def test_the_newest_version_of_lightning(tmp_path: Path):
    for version in (9, 10):
        folder = tmp_path / "lightning_logs" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"epoch,step,train_loss\n0,0,{version}.5\n")
    for folder in (tmp_path, tmp_path / "lightning_logs"):
        samples, notes = read(folder)
        assert notes.source == "metrics.csv of Lightning" and samples[0].metrics["loss"] == 10.5
        assert read(f"{folder}#version_9")[0][0].metrics["loss"] == 9.5
