"""Logs of other programs, written by these programs where they are installed."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import lightning
import pyarrow
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from pyarrow import parquet

from pretrain_monitor import Sample, read_run
from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.notes import ReadNotes


def read(path: Path | str, **options: Any) -> tuple[list[Sample], ReadNotes]:
    notes = ReadNotes()
    return list(read_run(path, notes=notes, **options)), notes


def losses(samples: list[Sample]) -> list[tuple[int, float]]:
    return [(sample.step, sample.metrics["loss"]) for sample in samples if "loss" in sample.metrics]


class Line(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
        loss = self.layer(batch).square().mean() + 1
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: torch.Tensor, number: int) -> None:
        self.log("val_loss", self.layer(batch).square().mean())

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log_dict(lightning.pytorch.utilities.grad_norm(self, norm_type=2))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), "interval": "step"}]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_the_table_that_lightning_writes(tmp_path: Path):
    data = torch.utils.data.DataLoader(torch.ones(24, 2), batch_size=4)
    logger = lightning.pytorch.loggers.CSVLogger(tmp_path, name="", version="")
    trainer = lightning.Trainer(
        max_epochs=2, logger=logger, log_every_n_steps=1, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", callbacks=[LearningRateMonitor("step")],
    )  # fmt: skip
    trainer.fit(Line(), data, data)
    samples, notes = read(tmp_path)
    assert notes.source == "metrics.csv of Lightning"
    # As Lightning counts them: steps completed before the batch.
    assert [step for step, _ in losses(samples)] == list(range(12))
    assert samples[1].metrics["learning_rate"] == pytest.approx(0.009)
    assert all(sample.metrics["grad_norm"] > 0 for sample in samples if "loss" in sample.metrics)
    assert any("val_loss" in sample.metrics for sample in samples)


def test_a_parquet_table(tmp_path: Path):
    rows = 10_000
    columns = {"global_step": list(range(1, rows + 1)), "train/loss": [2.0] * rows, "note": ["x"] * rows}
    columns["lr"] = [None if step % 2 else 1e-4 for step in columns["global_step"]]
    parquet.write_table(pyarrow.table(columns), tmp_path / "log.parquet")
    samples, notes = read(tmp_path / "log.parquet")
    assert notes.source == "Parquet table" and len(samples) == rows
    assert samples[1] == Sample(2, {"loss": 2.0, "learning_rate": 1e-4})
    assert samples[0].metrics == {"loss": 2.0}


def test_a_damaged_parquet_table_is_one_line(tmp_path: Path):
    parquet.write_table(pyarrow.table({"step": [1, 2], "loss": [2.0, 2.0]}), tmp_path / "log.parquet")
    data = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[:-20])
    with pytest.raises(LogError, match=r"cut\.parquet: a damaged Parquet file") as refused:
        read(tmp_path / "cut.parquet")
    assert "\n" not in str(refused.value)
    parquet.write_table(pyarrow.table({"epoch": [1]}), tmp_path / "other.parquet")
    with pytest.raises(LogError, match="no step column; the columns are 'epoch'"):
        read(tmp_path / "other.parquet")


def test_runs_that_mlflow_writes_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")
    try:
        with mlflow.start_run() as run:
            for step in range(1, 6):
                loss = 3.0 if step != 3 else math.nan
                mlflow.log_metrics({"train/loss": loss, "lr": 0.5}, step=step)
    finally:
        mlflow.set_tracking_uri(before)
    (run_dir,) = (tmp_path / "mlruns").glob(f"*/{run.info.run_id}")
    samples, notes = read(run_dir)
    assert notes.source == "MLflow metrics"
    assert [step for step, _ in losses(samples)] == [1, 2, 3, 4, 5] and math.isnan(samples[2].metrics["loss"])
    assert samples[0].metrics == {"loss": 3.0, "learning_rate": 0.5}
    (run_dir / "metrics" / "lr").write_text("1700000000000 0.001\n")
    with pytest.raises(LogError, match=r"lr: line 1 is no time, value and step"):
        read(run_dir)


def database_of_mlflow(path: Path) -> Path:
    """With the columns of its schema that are read."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, start_time BIGINT)")
        database.execute(
            "CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN)"
        )
        for number, run in enumerate(("b0", "a1")):
            database.execute("INSERT INTO runs VALUES (?, ?, ?)", (run, run, number))
            for step in range(1, 6):
                rows = [("train/loss", 3.0 - number, step == 3), ("train/grad_norm", 1.0, False)]
                database.executemany(
                    "INSERT INTO metrics VALUES (?, ?, 0, ?, ?, ?)", [(k, v, run, step, n) for k, v, n in rows]
                )
        database.commit()
    return path


def test_a_database_of_mlflow(tmp_path: Path):
    path = database_of_mlflow(tmp_path / "mlflow.db")
    samples, notes = read(path)
    assert notes.source == "MLflow database"
    assert [step for step, _ in losses(samples)] == [1, 2, 3, 4, 5]
    assert samples[0].metrics == {"loss": 2.0, "grad_norm": 1.0} and math.isnan(samples[2].metrics["loss"])
    assert losses(read(f"{path}#1")[0])[0] == losses(read(f"{path}#b")[0])[0] == (1, 3.0)
    with pytest.raises(LogError, match="no run nobody; there are b0, a1"):
        read(f"{path}#nobody")


def test_a_database_of_trackio(tmp_path: Path):
    path = tmp_path / "project.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)"
        )
        for run in ("first", "second"):
            for step in range(4):
                record = json.dumps({"train/loss": 2.5 if step != 2 else "NaN", "table": {"a": 1}}).encode()
                row = ("2026-01-01T00:00:00", run, step, record)
                database.execute("INSERT INTO metrics(timestamp, run_name, step, metrics) VALUES (?,?,?,?)", row)
        database.commit()
    samples, notes = read(path)
    assert notes.source == "trackio database"
    assert [sample.step for sample in samples] == [0, 1, 2, 3] and math.isnan(samples[2].metrics["loss"])
    assert len(read(f"{path}#fir")[0]) == 4
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE x (a)")
    with pytest.raises(LogError, match="neither trackio's nor MLflow's"):
        read(tmp_path / "other.db")
    (tmp_path / "broken.db").write_bytes(path.read_bytes()[:700])
    with pytest.raises(LogError, match=r"broken\.db"):
        read(tmp_path / "broken.db")


def test_tables_and_lines_that_wandb_exports(tmp_path: Path):
    table = tmp_path / "wandb_export.csv"
    table.write_text(
        '"Step","lively-sun-1 - train/loss","lively-sun-1 - train/loss__MIN","lively-sun-1 - train/loss__MAX"\n'
        "1,3.5,3.4,3.6\n2,3.25,3.2,3.3\n"
    )
    assert losses(read(table)[0]) == [(1, 3.5), (2, 3.25)]
    lines = tmp_path / "history.jsonl"
    lines.write_text(
        '{"_step": 1, "_timestamp": 5.0, "train/loss": 3.5}\n{"_step": 2, "_timestamp": 6.0, "train/loss": 3.0}\n'
    )
    samples, _ = read(lines)
    assert losses(samples) == [(1, 3.5), (2, 3.0)] and samples[0].time == 5.0
    table.write_text('"Step","a - train/loss","b - train/loss"\n1,3.5,3.25\n')
    assert losses(read(table)[0]) == [(1, 3.25)]
    table.write_text('"Step","a - train/loss","a - train/train_loss","a - lm_loss"\n1,3.5,3.4,3.4\n')
    with pytest.raises(LogError, match="two columns for loss"):
        read(table)


def test_what_a_trainer_of_hugging_face_prints_has_no_step(tmp_path: Path):
    path = tmp_path / "stdout.log"
    path.write_text(
        "Loading...\n"
        "{'loss': 3.5, 'grad_norm': 1.25, 'learning_rate': 1e-4, 'epoch': 0.1}\n"
        "  5%|5     | 1/20 [00:01<00:19]\r{'loss': '3.25', 'grad_norm': '1.5', 'learning_rate': '9e-05'}\n"
        "{'eval_loss': 3.4, 'eval_runtime': 1.0, 'epoch': 0.2}\n"
        "{'train_runtime': 10.0, 'train_loss': 3.4, 'epoch': 1.0}\n"
    )
    samples, notes = read(path)
    assert losses(samples) == [(1, 3.5), (2, 3.25)]
    assert samples[1].metrics["learning_rate"] == pytest.approx(9e-5)
    assert any("counted" in sentence for sentence in notes.sentences)


def test_what_a_trainer_prints_of_values_that_are_none_is_read(tmp_path: Path):
    path = tmp_path / "stdout.log"
    path.write_text(
        "{'eval_loss': 9.0}\n{'loss': 3.5, 'grad_norm': 1.25}  5%|5     | 1/20 [00:01<00:19]\n"
        "{'loss': nan, 'grad_norm': inf}\n{'eval_loss': 3.4, 'epoch': 0.2}\n"
        "{'loss': 'nan', 'grad_norm': '1.5'}\nstep 7 loss 8.0\n"
    )
    samples, _ = read(path)
    assert [sample.step for sample in samples] == [1, 2, 3]
    assert math.isnan(samples[1].metrics["loss"]) and math.isinf(samples[1].metrics["grad_norm"])
    assert samples[1].metrics["val_loss"] == 3.4 and math.isnan(samples[2].metrics["loss"])
    assert "val_loss" not in samples[0].metrics and samples[2].metrics["grad_norm"] == 1.5


def test_a_print_out_of_a_trainer_that_was_resumed_is_told(tmp_path: Path):
    path = tmp_path / "stdout.log"
    path.write_text("".join(f"{{'loss': 3.5, 'epoch': {epoch}}}\n" for epoch in (0.1, 0.2, 0.3, 0.2, 0.3)))
    samples, notes = read(path)
    assert [step for step, _ in losses(samples)] == [1, 2, 3, 4, 5]
    assert "its epoch falls back, times: 1" in notes.sentences[-1]


def test_dicts_beside_lines_with_steps_are_left_alone(tmp_path: Path):
    path = tmp_path / "stdout.log"
    path.write_text("step 5 loss 3.0\n{'loss': 9.0}\nINFO {'step': 6, 'loss': 2.5}\nstep 7 loss 2.0\n")
    assert losses(read(path)[0]) == [(5, 3.0), (6, 2.5), (7, 2.0)]


def test_blocks_of_olmo(tmp_path: Path):
    path = tmp_path / "olmo.log"
    path.write_text(
        "2026-01-01 INFO [step=10/1000,epoch=0]\n"
        "    optim/total_grad_norm=0.75\n    train/CrossEntropyLoss=3.125\n    throughput/total_tokens=4,194,304\n"
        "2026-01-01 INFO something else\n    train/CrossEntropyLoss=99\n"
        "2026-01-01 INFO [step=20/1000,epoch=0,eta=1h]\n"
        "    train/CE loss=3.0\n    optim/total grad norm=0.5\n    eval/c4/CE loss=3.5\n    x=1\n"
    )
    samples, _ = read(path)
    assert losses(samples) == [(10, 3.125), (20, 3.0)]
    assert samples[0].tokens_seen == 4_194_304 and samples[1].metrics["grad_norm"] == 0.5
    assert samples[1].metrics == {"loss": 3.0, "grad_norm": 0.5, "eval/c4/CE loss": 3.5}


def test_lines_by_a_pattern(tmp_path: Path):
    path = tmp_path / "odd.log"
    path.write_text("t=1 | L 3.50 | n 1.25\nnoise\nt=2 | L 3.25 | n 1.50\n")
    samples, notes = read(path, pattern=r"t=(?P<step>\d+) \| L (?P<loss>\S+) \| n (?P<grad_norm>\S+)")
    assert notes.source == "text log, by a pattern"
    assert samples == [Sample(1, {"loss": 3.5, "grad_norm": 1.25}), Sample(2, {"loss": 3.25, "grad_norm": 1.5})]
    for pattern, said in (
        ("(", "no regular expression"),
        (r"(?P<step>\d+)", "no group named loss"),
        (r"(?P<step>X)(?P<loss>Y)", "no line has"),
    ):
        with pytest.raises(LogError, match=said) as refused:
            read(path, pattern=pattern)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.jsonl", '{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.5}\n{"step": 3, "lo'),
        ("log.csv", "step,loss,lr\n1,3.0,0.1\n2,2.5,0.1\n3,2"),
    ],
)
def test_a_last_line_that_breaks_off_is_left_out_and_said(tmp_path: Path, name: str, text: str):
    path = tmp_path / name
    path.write_text(text)
    samples, notes = read(path)
    assert losses(samples) == [(1, 3.0), (2, 2.5)]
    assert notes.sentences == ["its last line breaks off and is left out"]
    # With a line behind it, it is a damaged line.
    path.write_text(f"{text}\n{text.splitlines()[1]}\n")
    if name.endswith("jsonl"):
        with pytest.raises(LogError, match="line 3"):
            read(path)
