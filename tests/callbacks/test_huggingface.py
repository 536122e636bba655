from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_hf
import torch
from transformers import Trainer, TrainerCallback

from pretrain_monitor import Kind
from pretrain_monitor.callbacks.huggingface import MonitorCallback
from pretrain_monitor.records import read_records


class TwiceTheLoss(Trainer):
    """A loss of its own, which the model's output does not hold."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        return (2 * loss, outputs) if return_outputs else 2 * loss


class PlainModule(torch.nn.Module):
    """No Hugging Face model: knows nothing of labels to ignore or of accumulation, returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        guess = self.layer(x)
        return (guess - y).square().mean(), guess


def points(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(4, generator=generator), "y": torch.randn(1, generator=generator)} for _ in range(count)]


def own_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    logits = outputs["logits"][:, :-1].flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum") / num_items_in_batch


# Two epochs of ten micro-batches in windows of three: each epoch ends with a window of one.
UNEVEN = {"gradient_accumulation_steps": 3, "num_train_epochs": 2, "max_steps": -1}

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {**UNEVEN, "data": tiny_hf.rows(20, padding=5)},
    "accumulation of means": {**UNEVEN, "model": PlainModule, "data": points(20)},
    "bf16": {"bf16": True, "gradient_accumulation_steps": 2},
    "checkpointed activations": {"activation_checkpointing": True},
    "compiled": {"torch_compile": True, "torch_compile_backend": "eager", "max_steps": 4},
    "no clipping": {"max_grad_norm": 0.0},
    "tight clipping": {"max_grad_norm": 0.01},
    "dropout": {"model": tiny_hf.gpt2},
    "label smoothing": {"label_smoothing_factor": 0.1},
    "own compute_loss": {"kind": TwiceTheLoss},
    "own loss function": {"options": {"compute_loss_func": own_loss}, "gradient_accumulation_steps": 2},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_step_is_exactly_what_the_trainer_logs_of_it(name: str, tmp_path: Path) -> None:
    settings = dict(SETTINGS[name])
    model = settings.pop("model", tiny_hf.llama)()
    trainer = tiny_hf.trainer(tmp_path, model, settings.pop("data", None), **settings)
    tiny_hf.watched(trainer, tmp_path)

    trainer.train()

    steps = [sample.step for sample in tiny_hf.samples(tmp_path)]
    assert steps == list(range(1, trainer.state.global_step + 1))
    for signal in ("loss", "grad_norm", "learning_rate"):
        assert tiny_hf.column(tmp_path, signal) == tiny_hf.logged(trainer, signal)


def test_the_gradient_norm_is_the_one_before_clipping(tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, max_grad_norm=0.01)
    tiny_hf.watched(trainer, tmp_path)

    trainer.train()

    assert min(tiny_hf.column(tmp_path, "grad_norm")) > 0.1


@pytest.mark.parametrize("logging", [{"logging_steps": 5}, {"logging_steps": 500}, {"logging_strategy": "no"}])
def test_logging_less_often_changes_nothing(logging: dict[str, Any], tmp_path: Path) -> None:
    for folder, changes in ((tmp_path / "each", {}), (tmp_path / "rarely", logging)):
        trainer = tiny_hf.trainer(folder, **changes)
        tiny_hf.watched(trainer, folder)
        trainer.train()

    def metrics(folder: Path) -> list[dict[str, float]]:
        return [dict(sample.metrics) for sample in tiny_hf.samples(folder)]

    assert len(metrics(tmp_path / "rarely")) == 8
    assert metrics(tmp_path / "rarely") == metrics(tmp_path / "each")


def test_the_learning_rate_is_the_one_used_and_the_largest_of_all_groups(tmp_path: Path) -> None:
    model = tiny_hf.llama()
    head = [{"params": model.lm_head.parameters(), "lr": 0.02}, {"params": model.model.parameters(), "lr": 0.5}]
    optimizer = torch.optim.SGD(head)
    halving = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    trainer = tiny_hf.trainer(tmp_path, model, options={"optimizers": (optimizer, halving)}, max_steps=3)
    tiny_hf.watched(trainer, tmp_path)

    trainer.train()

    assert tiny_hf.column(tmp_path, "learning_rate") == [0.5, 0.25, 0.125]


def test_each_step_says_how_far_the_data_have_been_gone_through(tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, max_steps=-1, num_train_epochs=2)
    tiny_hf.watched(trainer, tmp_path)

    trainer.train()

    epochs = tiny_hf.column(tmp_path, "epoch")
    assert epochs == sorted(epochs)
    assert (epochs[-1], epochs[len(epochs) // 2 - 1]) == (2.0, 1.0)


def test_training_twice_and_a_new_accelerator_are_both_watched(tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, max_steps=4)
    tiny_hf.watched(trainer, tmp_path)
    trainer.train()
    trainer.create_accelerator_and_postprocess()  # as each trial of a hyper-parameter search does

    trainer.train()

    # The second call starts at step 0 again, so its steps supersede those of the first.
    assert len(tiny_hf.samples(tmp_path)) == 4
    for signal in ("loss", "grad_norm"):
        assert tiny_hf.column(tmp_path, signal) == tiny_hf.logged(trainer, signal)[-4:]


def test_attaching_twice_counts_no_loss_twice(tmp_path: Path) -> None:
    monitor = MonitorCallback(tmp_path / "run", tiny_hf.QUIET)
    trainer = tiny_hf.trainer(tmp_path, options={"callbacks": [monitor]}, max_steps=3)

    assert monitor.attach(trainer).attach(trainer) is monitor
    trainer.train()

    assert trainer.callback_handler.callbacks.count(monitor) == 1
    assert tiny_hf.column(tmp_path, "loss") == tiny_hf.logged(trainer, "loss")


@pytest.mark.filterwarnings("ignore::UserWarning:transformers")
def test_two_monitors_on_one_trainer_both_see_each_step_once(tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, max_steps=3)
    folders = (tmp_path / "a", tmp_path / "b")
    for folder in folders:
        tiny_hf.watched(trainer, folder)

    trainer.train()

    for folder in folders:
        assert tiny_hf.column(folder, "loss") == tiny_hf.logged(trainer, "loss")
        assert tiny_hf.column(folder, "grad_norm") == tiny_hf.logged(trainer, "grad_norm")


def test_attach_refuses_what_is_no_trainer() -> None:
    with pytest.raises(TypeError, match=r"attach takes a transformers\.Trainer, got Linear"):
        MonitorCallback(None, tiny_hf.QUIET).attach(torch.nn.Linear(1, 1))


def test_evaluating_on_the_way_adds_nothing_to_the_loss(tmp_path: Path) -> None:
    for attach in (True, False):
        folder = tmp_path / str(attach)
        monitor = MonitorCallback(folder / "run", tiny_hf.QUIET)
        options = {"callbacks": [monitor], "eval_dataset": tiny_hf.rows(6, seed=9)}
        trainer = tiny_hf.trainer(folder, options=options, eval_strategy="steps", eval_steps=2, eval_on_start=True)
        if attach:
            monitor.attach(trainer)

        trainer.train()

        assert len(tiny_hf.logged(trainer, "eval_loss")) == 5
        assert tiny_hf.column(folder, "loss") == tiny_hf.logged(trainer, "loss")
        assert tiny_hf.column(folder, "grad_norm") == tiny_hf.logged(trainer, "grad_norm")


class BreakOffOnce(TrainerCallback):
    """Ends the epoch after the first of two micro-batches, so that this window has no optimizer step."""

    was_done = False

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        control.should_epoch_stop = state.global_step == 2 and not self.was_done
        self.was_done = self.was_done or control.should_epoch_stop
        return control


def test_a_window_without_an_optimizer_step_adds_nothing_to_the_next_step(tmp_path: Path) -> None:
    options = {"callbacks": [BreakOffOnce()]}
    epochs = {"gradient_accumulation_steps": 2, "num_train_epochs": 2, "max_steps": -1}  # of three steps each
    trainer = tiny_hf.trainer(tmp_path, data=tiny_hf.rows(12), options=options, **epochs)
    tiny_hf.watched(trainer, tmp_path)

    trainer.train()

    losses, logged = tiny_hf.column(tmp_path, "loss"), tiny_hf.logged(trainer, "loss")
    assert [sample.step for sample in tiny_hf.samples(tmp_path)] == [1, 2, 3, 4, 5]
    # The trainer's own log has half a window too many in it: a spike that never was.
    assert logged[2] > 6 > 4.5 > losses[2]
    assert losses[:2] + losses[3:] == logged[:2] + logged[3:]


class Poison(Trainer):
    """Makes the loss of one step NaN, in one of its micro-batches."""

    at_call = 6

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, **kwargs)
        self.calls = getattr(self, "calls", 0) + 1
        return loss * (float("nan") if self.calls == self.at_call else 1.0)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_nan_that_the_trainer_hides_is_seen_at_its_step(accumulation: int, tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, kind=Poison, gradient_accumulation_steps=accumulation)
    monitor = tiny_hf.watched(trainer, tmp_path)
    bad_step = Poison.at_call // accumulation

    trainer.train()

    assert all(math.isfinite(loss) for loss in tiny_hf.logged(trainer, "loss"))
    losses = tiny_hf.column(tmp_path, "loss")
    assert [math.isnan(loss) for loss in losses] == [step >= bad_step for step in range(1, 9)]
    (incident,) = monitor.incidents
    assert (incident.kind, incident.detected_step) == (Kind.NONFINITE, bad_step)


class SaysWhatChanges(TrainerCallback):
    """A callback of the user's own, called before or after ours."""

    def __init__(self, monitor: MonitorCallback) -> None:
        self.monitor = monitor

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3:
            self.monitor.announce("begins with step 4")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 5:
            self.monitor.announce("begins with step 6", what="batch_size")


@pytest.mark.parametrize("is_attached", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_announced_begins_with_the_next_step(is_attached: bool, is_first: bool, tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path)
    monitor = MonitorCallback(tmp_path / "run", tiny_hf.QUIET)
    monitor.announce("begins with step 1")
    callbacks = [SaysWhatChanges(monitor), monitor] if is_first else [monitor, SaysWhatChanges(monitor)]
    for callback in callbacks:
        trainer.add_callback(callback)
    if is_attached:
        monitor.attach(trainer)
    trainer.train()
    told = [(s.step, s.meta["announced"]) for s in tiny_hf.samples(tmp_path) if s.meta]
    assert [(step, said["text"]) for step, (said,) in told] == [(n, f"begins with step {n}") for n in (1, 4, 6)]


@pytest.mark.parametrize(("given", "expected"), [(0.5, 0.5), (0.0, None)])
def test_the_run_log_says_what_gradients_are_clipped_to(given: float, expected: float | None, tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, tiny_hf.llama(), max_grad_norm=given, max_steps=2)
    tiny_hf.watched(trainer, tmp_path)
    trainer.train()
    (begun,) = [record for record in read_records(next(tmp_path.rglob("run.jsonl"))) if record["type"] == "run"]
    assert begun.get("max_grad_norm") == expected
