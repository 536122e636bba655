"""Going back in trainers that are set up in less usual ways."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_huggingface_actions import InOrder, actions_in, data
from tiny_hf import QUIET, samples, trainer, watched, weights_hash
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from pretrain_monitor import ListSink
from pretrain_monitor.actions import Rewind
from pretrain_monitor.callbacks import hf_actions, hf_hands
from pretrain_monitor.callbacks.huggingface import MonitorCallback

SAVING = {"kind": InOrder, "max_steps": 30, "save_strategy": "steps", "save_steps": 5}


def reference(folder: Path) -> str:
    """The weights after 30 steps without the data of steps 16 to 18."""
    whole = data(40)
    run = trainer(folder / "reference", data=whole[:30] + whole[36:], **SAVING)
    run.train()
    return weights_hash(run.model)


@pytest.mark.parametrize("place", [None, "a file/run"], ids=["no run directory", "one that cannot be made"])
def test_without_a_log_the_run_goes_back_all_the_same(place: str | None, tmp_path: Path):
    (tmp_path / "a file").touch()
    run = trainer(tmp_path, data=data(40, poisoned=(18,)), **SAVING)
    sink = ListSink()
    run_dir = None if place is None else tmp_path / place
    MonitorCallback(run_dir, QUIET, actions=[Rewind()], sinks=[sink]).attach(run)
    run.train()
    assert [(action.do, action.outcome) for action in sink.actions] == [("rewind", "done")]
    assert [sample.step for sample in sink.samples] == [*range(1, 19), *range(16, 31)]
    assert weights_hash(run.model) == reference(tmp_path)


class Once(TrainerCallback):
    """Does something after a step, the first time."""

    def __init__(self, step: int, what: Any) -> None:
        self.step, self.what = step, what

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.step = -1
            self.what()


def test_a_run_directory_that_somebody_deletes_does_not_keep_it_from_going_back(tmp_path: Path):
    run = trainer(tmp_path, data=data(40, poisoned=(18,)), **SAVING)
    watched(run, tmp_path, actions=[Rewind()])
    run.add_callback(Once(12, lambda: shutil.rmtree(tmp_path / "run")))
    run.train()
    assert weights_hash(run.model) == reference(tmp_path)
    assert [record["outcome"] for record in actions_in(tmp_path)] == ["done"]
    assert [sample.step for sample in samples(tmp_path)][-15:] == list(range(16, 31))


def test_the_best_checkpoint_of_the_run_that_is_left_is_loaded_at_its_end(tmp_path: Path):
    settings = {**SAVING, "save_steps": 9, "eval_strategy": "steps", "eval_steps": 9, "load_best_model_at_end": True}
    run = trainer(tmp_path, data=data(40, poisoned=(18,)), options={"eval_dataset": data(4)}, **settings)
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    assert run.state.best_global_step in (9, 18, 27)
    assert math.isfinite(run.state.best_metric)
    assert Path(run.state.best_model_checkpoint).is_dir()
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]  # torch gives it no types
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


def test_a_stream_without_a_length_goes_on_where_it_was(tmp_path: Path):
    run = trainer(tmp_path, data=Stream(data(40, poisoned=(18,))), **SAVING)
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    assert actions_in(tmp_path)[0]["outcome"] == "done"
    assert weights_hash(run.model) == reference(tmp_path)


def test_a_stream_that_ends_within_a_step_begins_anew_with_a_whole_one(tmp_path: Path):
    settings = {**SAVING, "gradient_accumulation_steps": 2, "max_steps": 30}
    # 61 windows of one row and a half: after 30 of two batches and three that were gone back, half a window is left.
    found = data(40, poisoned=(18,), batch=4)[: 4 * 32 + 2]
    run = trainer(tmp_path, data=Stream(found), **settings)
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    whole = data(40, batch=4)
    seen = whole[: 4 * 15] + whole[4 * 18 : 4 * 32] + whole[:4]
    expected = trainer(tmp_path / "reference", data=Stream(seen), **settings)
    expected.train()
    assert run.state.global_step == 30
    assert weights_hash(run.model) == weights_hash(expected.model)


def test_the_patience_of_early_stopping_is_that_of_the_checkpoint(tmp_path: Path):
    settings = {**SAVING, "eval_strategy": "steps", "eval_steps": 5, "metric_for_best_model": "loss"}
    run = trainer(tmp_path, data=data(40, poisoned=(18,)), options={"eval_dataset": data(4)}, **settings)
    patience = EarlyStoppingCallback(early_stopping_patience=100)
    run.add_callback(patience)
    watched(run, tmp_path, actions=[Rewind()])
    run.add_callback(Once(17, lambda: setattr(patience, "early_stopping_patience_counter", 50)))
    run.train()
    assert actions_in(tmp_path)[0]["outcome"] == "done"
    assert patience.early_stopping_patience_counter < 10


def test_data_that_cannot_be_left_out_is_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = trainer(tmp_path, **{**SAVING, "max_steps": 2, "ignore_data_skip": True})
    watched(run, tmp_path, actions=[Rewind(by_restart=True)])
    run.train()
    assert any("none of it can be left out" in record.message for record in caplog.records)


def test_where_nobody_can_load_while_it_trains_it_is_said_at_the_start_and_at_the_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    for module in (hf_actions, hf_hands):
        monkeypatch.setattr(module, "hinders_loading", lambda trainer: True)
    run: Trainer = trainer(tmp_path, data=data(40, poisoned=(18,)), **SAVING)
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    line = "DeepSpeed and FSDP on XLA cannot load a checkpoint while they train"
    said = [record.message for record in caplog.records if line in record.message]
    assert said == [f"rewind: {line}: by_restart=True starts the job anew", f"rewind is not done: {line}"]
    assert [record["do"] for record in actions_in(tmp_path)] == ["rewind", "stop"]
