"""Actions in real Lightning runs: updates left out, checkpoints kept, training stopped, gone back, lowered."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_parts import QUIET, VOCABULARY, TinyLM, fingerprint, loader, rows, trainer
from torch import Tensor

from pretrain_monitor import ListSink, read_run
from pretrain_monitor.actions import Checkpoint, LowerLearningRate, Rewind, SkipStep, Stop
from pretrain_monitor.callbacks.lightning import MonitorCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]

POISON = VOCABULARY - 1


class Poisonable(TinyLM):
    """A row of nothing but the last token makes the loss NaN."""

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        loss = super().loss(batch)
        return loss * math.nan if bool((batch["input_ids"] == POISON).all(dim=-1).any()) else loss


class ByHand(Poisonable):
    """Clips and steps by itself."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=1.0)
        optimizer.step()
        return loss.detach()


class WithoutUpdateOf(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step + 1 == self.step:
            for parameter in pl_module.parameters():
                parameter.grad = None


def data(steps: int, *, poisoned: tuple[int, ...] = (), batch: int = 4) -> list[dict[str, Tensor]]:
    """Rows for so many steps; ``poisoned`` steps, counted from 1, have one that is poison."""
    found = rows(batch * steps)
    for step in poisoned:
        ids = torch.full((8,), POISON)
        found[batch * (step - 1)] = {"input_ids": ids, "labels": ids}
    return found


def run(folder: Path, found: list[Any], *callbacks: Any, model: Any = None, **options: Any) -> tuple[L.Trainer, Any]:
    model = Poisonable(warmup=True) if model is None else model
    settings = {"default_root_dir": str(folder), "max_epochs": None, "gradient_clip_val": 1.0, **options}
    made = trainer(*callbacks, **settings)
    made.fit(model, loader(found))
    return made, model


def saving(folder: Path, every: int, **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(str(folder / "saved"), every_n_train_steps=every, save_top_k=options.pop("save_top_k", -1))


def monitor(folder: Path, *actions: Any, **options: Any) -> MonitorCallback:
    return MonitorCallback(folder / "run", {**QUIET, **options.pop("config", {})}, actions=actions, **options)


def actions_in(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "run.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["type"] == "action"]


def moments(trainer: L.Trainer) -> list[Any]:
    state = trainer.optimizers[0].state_dict()["state"]
    return [(key, name, value.tolist()) for key, values in state.items() for name, value in sorted(values.items())]


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_clip_val": None}, {"accumulate_grad_batches": 2}, {"model": ByHand}],
    ids=["clipped", "not clipped", "accumulated", "by hand"],
)
def test_a_poisoned_batch_is_as_if_its_update_had_never_happened(options: dict[str, Any], tmp_path: Path):
    size = 4 * options.get("accumulate_grad_batches", 1)
    kind = options.pop("model", None)
    if kind is ByHand:
        options["gradient_clip_val"] = None
    guard = monitor(tmp_path, SkipStep())
    made = kind and kind()
    guarded, model = run(tmp_path, data(12, poisoned=(5,), batch=size), guard, model=made, max_steps=12, **options)
    made = kind and kind()
    reference, other = run(tmp_path, data(12, batch=size), WithoutUpdateOf(5), model=made, max_steps=12, **options)
    assert fingerprint(model) == fingerprint(other)
    assert moments(guarded) == moments(reference)
    (record,) = actions_in(tmp_path)
    assert (record["do"], record["outcome"], record["details"]["step"]) == ("skip_step", "done", 5)
    left_out = [sample.step for sample in read_run(tmp_path / "run") if "update_left_out" in (sample.meta or {})]
    assert left_out == [5]


class Fused(Poisonable):
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2, fused=True)


@pytest.mark.parametrize("clip", [0.5, None])
def test_the_device_leaves_out_an_update_as_the_host_would(clip: float | None, tmp_path: Path):
    guard = monitor(tmp_path, SkipStep(on_device=True))
    poisoned = data(12, poisoned=(5,))
    guarded, model = run(tmp_path, poisoned, guard, model=Fused(), max_steps=12, gradient_clip_val=clip)
    without = WithoutUpdateOf(5)
    reference, other = run(tmp_path, data(12), without, model=Fused(), max_steps=12, gradient_clip_val=clip)
    assert fingerprint(model) == fingerprint(other)
    assert moments(guarded) == moments(reference)
    (record,) = actions_in(tmp_path)
    assert (record["outcome"], record["details"]["step"]) == ("done", 5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_after_going_back_the_run_is_the_one_that_never_saw_the_data_that_led_into_it(accumulate: int, tmp_path: Path):
    size = 4 * accumulate
    settings = {"max_steps": 30, "accumulate_grad_batches": accumulate}
    sink = ListSink()
    watch = monitor(tmp_path, Rewind(), sinks=[sink])
    poisoned = data(40, poisoned=(18,), batch=size)
    rewound, model = run(tmp_path, poisoned, watch, saving(tmp_path, 5), **settings, enable_checkpointing=True)
    assert rewound.global_step == 30
    (record,) = actions_in(tmp_path)
    facts = record["details"]
    assert (record["do"], record["outcome"], record["step"]) == ("rewind", "done", 15)
    assert (facts["from_step"], facts["to_step"], facts["skipped_steps"]) == (18, 15, 3)
    whole = data(40, batch=size)
    reference, other = run(tmp_path / "b", whole[: 15 * size] + whole[18 * size :], **settings)
    assert fingerprint(model) == fingerprint(other)
    assert moments(rewound) == moments(reference)
    found = list(read_run(tmp_path / "run"))
    assert [sample.step for sample in found] == list(range(1, 31))
    assert all(math.isfinite(sample.metrics["loss"]) for sample in found)
    rates = [sample.metrics["learning_rate"] for sample in found]
    assert rates == pytest.approx([1e-2 * (step + 1) / 10 for step in range(30)])
    saved = {path.name for path in (tmp_path / "saved").glob("*.ckpt")}
    assert {f"epoch=0-step={step}.ckpt" for step in (5, 10, 15, 20, 25, 30)} == saved


def test_a_checkpoint_saved_after_going_back_can_be_resumed_from(tmp_path: Path):
    whole = data(40, poisoned=(18,))
    watch = monitor(tmp_path, Rewind())
    run(tmp_path, whole, watch, saving(tmp_path, 5), max_steps=25, enable_checkpointing=True)
    resumed = trainer(
        monitor(tmp_path, Rewind()),
        saving(tmp_path, 5),
        default_root_dir=str(tmp_path),
        enable_checkpointing=True,
        max_epochs=None,
        max_steps=28,
    )
    # Where to go on in the data is for the program to say: Lightning does not keep the place of a plain loader.
    last = tmp_path / "saved" / "epoch=0-step=25.ckpt"
    resumed.fit(Poisonable(warmup=True), loader(whole[112:]), ckpt_path=str(last))
    assert resumed.global_step == 28
    assert [sample.step for sample in read_run(tmp_path / "run")] == list(range(1, 29))


def test_more_data_is_left_out_where_that_is_asked_for(tmp_path: Path):
    watch = monitor(tmp_path, Rewind(skip_steps=10))
    settings = {"max_steps": 24, "accumulate_grad_batches": 2}
    poisoned = data(40, poisoned=(18,), batch=8)
    _, model = run(tmp_path, poisoned, watch, saving(tmp_path, 5), **settings, enable_checkpointing=True)
    assert actions_in(tmp_path)[0]["details"]["skipped_steps"] == 10
    whole = data(40, batch=8)
    _, other = run(tmp_path / "b", whole[: 15 * 8] + whole[25 * 8 :], **settings)
    assert fingerprint(model) == fingerprint(other)


def test_where_the_data_ends_before_enough_is_left_out_the_pass_over_it_ends(tmp_path: Path):
    watch = monitor(tmp_path, Rewind(skip_steps=100))
    poisoned = data(30, poisoned=(18,))
    made, _ = run(tmp_path, poisoned, watch, saving(tmp_path, 5), max_epochs=1, enable_checkpointing=True)
    assert actions_in(tmp_path)[0]["details"]["skipped_steps"] == 15
    assert made.global_step == 15


def test_the_last_good_checkpoint_is_kept_from_rotation_and_one_is_saved(tmp_path: Path):
    watch = monitor(tmp_path, Checkpoint(), SkipStep())
    saver = saving(tmp_path, 5, save_top_k=1)
    run(tmp_path, data(40, poisoned=(13,)), watch, saver, max_steps=30, enable_checkpointing=True)
    names = {path.name for path in (tmp_path / "saved").glob("*.ckpt")}
    assert names == {"incident-step=13.ckpt", "epoch=0-step=30.ckpt"}
    kept = torch.load(tmp_path / "saved" / "kept" / "epoch=0-step=10.ckpt", weights_only=False)
    assert kept["global_step"] == 10
    saved = next(record for record in actions_in(tmp_path) if record["do"] == "checkpoint")
    assert saved["details"]["saved"] == "a checkpoint of step 13 and the one of step 10"


def test_a_training_is_stopped_with_a_checkpoint_and_the_exit_status_that_was_chosen(tmp_path: Path):
    class Other(L.Callback):
        was_torn_down = False

        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.was_torn_down = True

    other = Other()
    watch = monitor(tmp_path, Stop(exit_status=75))
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, data(20, poisoned=(7,)), watch, other, max_steps=20, min_steps=15)
    assert ended.value.code == 75
    assert other.was_torn_down
    (record,) = [record for record in actions_in(tmp_path) if record["do"] == "stop"]
    saved = torch.load(record["details"]["path"], weights_only=False)
    assert saved["global_step"] == 7
    assert json.loads((tmp_path / "run" / "run.jsonl").read_text().splitlines()[-1])["reason"] == "finished"


def test_the_learning_rate_is_lowered_and_comes_back_along_a_line(tmp_path: Path):
    watch = monitor(tmp_path, LowerLearningRate(when="nonfinite", factor=0.2, hold_steps=2, ramp_steps=8))
    made, _ = run(tmp_path, data(30, poisoned=(10,)), watch, max_steps=30)
    rates = [sample.metrics["learning_rate"] for sample in read_run(tmp_path / "run")]
    share = [rate / (1e-2 * (step + 1) / 10) for step, rate in enumerate(rates)]
    expected = [1.0] * 10 + [0.2] * 3 + [0.2 + 0.1 * step for step in range(1, 8)] + [1.0] * 10
    assert share == pytest.approx(expected)
    assert made.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-2 * 31 / 10)


def test_what_can_never_work_is_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run(tmp_path, data(8), monitor(tmp_path, Rewind()), max_steps=8)
    assert "rewind: no ModelCheckpoint saves more than weights" in caplog.text


def test_without_actions_the_trainer_is_left_alone(tmp_path: Path):
    watch = monitor(tmp_path)
    made, _ = run(tmp_path, data(8), watch, max_steps=8)
    assert not {"save_checkpoint", "clip_grad_by_norm"} & {*vars(made), *vars(made.precision_plugin)}
