"""``trainer_state.json``, as a real Trainer writes it and as it may be damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pretrain_monitor import read_run
from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.trainer_state import _CHUNK_BYTES


def state(history: list[Any], **more: Any) -> str:
    return json.dumps({"best_metric": None, "log_history": history, "logging_steps": 1, **more}, indent=2)


def entry(step: int, loss: float, **more: Any) -> dict[str, Any]:
    return {"epoch": step / 10, "grad_norm": 1.5, "learning_rate": 1e-3, "loss": loss, "step": step, **more}


def test_what_a_real_trainer_saved_is_what_it_logged(tmp_path: Path):
    from callbacks import tiny_hf

    run = tiny_hf.trainer(
        tmp_path, max_steps=6, save_strategy="steps", save_steps=3, eval_strategy="steps", eval_steps=3,
        options={"eval_dataset": tiny_hf.rows(4)},
    )  # fmt: skip
    run.train()
    run.save_state()
    for path in ("trainer", "trainer/trainer_state.json", "trainer/checkpoint-6", "trainer/checkpoint-3"):
        found = list(read_run(tmp_path / path))
        assert [sample.step for sample in found] == list(range(1, 4 if path.endswith("-3") else 7))
        assert [sample.metrics["loss"] for sample in found] == tiny_hf.logged(run, "loss")[: len(found)]
        assert {"loss", "grad_norm", "learning_rate", "eval_loss"} <= set(found[2].metrics)
    assert "train_runtime" not in found[-1].metrics


def test_the_newest_checkpoint_of_a_directory_is_read(tmp_path: Path):
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state([entry(k, 2.0) for k in range(1, step + 1)]))
    assert len(list(read_run(tmp_path))) == 10


def test_the_summary_of_the_whole_training_is_no_step(tmp_path: Path):
    path = tmp_path / "trainer_state.json"
    path.write_text(state([entry(1, 3.0), entry(2, 2.5), {"train_runtime": 9.0, "train_loss": 2.7, "step": 2}]))
    assert [sample.metrics["loss"] for sample in read_run(path)] == [3.0, 2.5]


def test_a_loss_that_is_a_mean_over_steps_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "state.json"
    path.write_text(state([entry(10 * k, 3.0) for k in range(1, 5)]))
    assert [sample.step for sample in read_run(path)] == [10, 20, 30, 40]
    (said,) = [record.message for record in caplog.records]
    assert "each loss is a mean over 10 steps" in said


def test_a_long_history_is_read_in_pieces_with_what_is_not_ascii_between_them(tmp_path: Path):
    path = tmp_path / "state.json"
    history = [entry(k, 3.0 + k, note="é" * (k % 7)) for k in range(1, 3000)]
    path.write_text(json.dumps({"log_history": history}, indent=1, ensure_ascii=False), encoding="utf-8")
    assert path.stat().st_size > 3 * _CHUNK_BYTES
    assert [sample.metrics["loss"] for sample in read_run(path)] == [3.0 + k for k in range(1, 3000)]


def test_nan_and_one_line_are_read(tmp_path: Path):
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": [entry(1, 3.0), entry(2, math.nan)]}))
    assert math.isnan([sample.metrics["loss"] for sample in read_run(path)][1])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{\n}", "one JSON document over many lines, and no trainer_state.json; write one object a line"),
        ('{\n"log_history": {}}', "its log_history is no list"),
        ('{\n"log_history": []}', "its log_history is empty: nothing has been logged"),
        ('{\n"log_history": [', "entry 1 of log_history is cut off or not JSON"),
        ('{\n"log_history": [{"step": 1, "loss": 2}', "cut off or damaged after entry 1 of log_history"),
        (state([entry(1, 3.0), entry(2, 3.0)])[:250], "entry 2 of log_history is cut off or not JSON"),
        ('{\n"log_history": [3]}', "entry 1 of log_history is not a JSON object: 3"),
        ('{\n"log_history": [{"step": 1, "step": 2}]}', "entry 1 of log_history has 'step' twice"),
        ('{\n"log_history": [{"step": 1, "eval_loss": 2}]}', "no loss column; the entries have 'step', 'eval_loss'"),
        ('{\n"log_history": [{"step": 1.5, "loss": 2}]}', "entry 1: step 1.5 is not a whole number"),
        ('{\n"log_history": [' + "[" * 100_000, "entry 1 of log_history is cut off or not JSON"),
        ('{\n"log_history": [{"a": "' + "x" * 2_000_000 + '"}]}', "entry 1 of log_history is cut off or not JSON"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_one_line(text: str, line: str, tmp_path: Path):
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(LogError) as refused:
        list(read_run(path))
    assert line in str(refused.value)
    assert str(refused.value).isprintable()


def test_what_is_not_utf8_is_one_line(tmp_path: Path):
    path = tmp_path / "trainer_state.json"
    path.write_bytes(b'{\n"log_history": [\xff\xff\xff\xff\xff\xff')
    with pytest.raises(LogError, match="not UTF-8 text"):
        list(read_run(path))
