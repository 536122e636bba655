"""Given only as ``callbacks=[MonitorCallback(...)]``: less is seen, and the user is told what and how to attach."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_hf
import torch
from test_huggingface import UNEVEN, PlainModule, Poison, TwiceTheLoss, points
from transformers import Trainer, TrainerCallback

from pretrain_monitor import Kind
from pretrain_monitor.callbacks.huggingface import MonitorCallback

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {**UNEVEN, "data": tiny_hf.rows(20, padding=5)},
    "accumulation of means": {**UNEVEN, "model": PlainModule, "data": points(20)},
    "bf16": {"bf16": True, "gradient_accumulation_steps": 2},
    "checkpointed activations": {"activation_checkpointing": True},
    "compiled": {"torch_compile": True, "torch_compile_backend": "eager", "max_steps": 4},
    "dropout": {"model": tiny_hf.gpt2},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_loss_that_the_model_computes_is_exact_without_attaching(name: str, tmp_path: Path) -> None:
    settings = dict(SETTINGS[name])
    model = settings.pop("model", tiny_hf.llama)()
    trainer = unattached(tmp_path, model, settings.pop("data", None), **settings)

    trainer.train()

    assert len(tiny_hf.samples(tmp_path)) == trainer.state.global_step
    for signal in ("loss", "grad_norm", "learning_rate"):
        assert tiny_hf.column(tmp_path, signal) == tiny_hf.logged(trainer, signal)


def test_the_gradient_norm_comes_with_the_trainers_log_only(tmp_path: Path) -> None:
    trainer = unattached(tmp_path, logging_steps=3)

    trainer.train()

    norms = tiny_hf.column(tmp_path, "grad_norm")
    assert [norm is not None for norm in norms] == [False, False, True, False, False, True, False, False]
    assert [norms[2], norms[5]] == tiny_hf.logged(trainer, "grad_norm")
    assert None not in tiny_hf.column(tmp_path, "loss")
    assert None not in tiny_hf.column(tmp_path, "learning_rate")


def test_a_log_at_the_end_of_the_epoch_still_brings_the_norm_of_its_step(tmp_path: Path) -> None:
    trainer = unattached(tmp_path, data=tiny_hf.rows(6), logging_strategy="epoch", max_steps=6)

    trainer.train()

    assert [s.step for s in tiny_hf.samples(tmp_path) if "grad_norm" in s.metrics] == [3, 6]


class LookAtTheLog(TrainerCallback):
    """Notes the last step in the run log whenever a checkpoint was saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: list[int] = []

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.found.append(tiny_hf.samples(self.folder)[-1].step)


def test_what_a_checkpoint_holds_is_in_the_run_log_when_it_is_saved(tmp_path: Path) -> None:
    trainer = unattached(tmp_path, logging_steps=100, save_strategy="steps", save_steps=2, max_steps=4)
    look = LookAtTheLog(tmp_path)
    trainer.add_callback(look)

    trainer.train()

    assert look.found == [2, 4]


def test_where_the_model_returns_no_loss_the_logged_one_is_taken(tmp_path: Path) -> None:
    trainer = unattached(tmp_path, label_smoothing_factor=0.1, logging_steps=4)

    trainer.train()

    losses = tiny_hf.column(tmp_path, "loss")
    assert [losses[3], losses[7]] == tiny_hf.logged(trainer, "loss")
    assert losses.count(None) == 6


def test_it_says_once_in_one_line_what_is_not_seen_and_how_to_attach(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = unattached(tmp_path, kind=TwiceTheLoss, logging_steps=4, max_steps=2)

    with caplog.at_level(logging.WARNING, logger="pretrain_monitor"):
        trainer.train()
        trainer.train()

    (message,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in message
    for part in ("not attached", "compute_loss", "gradient norm", "logging_steps=4", "MonitorCallback(...).attach("):
        assert part in message
    # What it says it cannot see, it does not see.
    assert tiny_hf.column(tmp_path, "loss")[0] == pytest.approx(math.log(tiny_hf.VOCABULARY), abs=0.1)


def test_attached_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = tiny_hf.trainer(tmp_path, max_steps=2)
    tiny_hf.watched(trainer, tmp_path)

    with caplog.at_level(logging.WARNING, logger="pretrain_monitor"):
        trainer.train()

    assert caplog.records == []


def test_attached_to_another_trainer_counts_as_not_attached(tmp_path: Path) -> None:
    other = tiny_hf.trainer(tmp_path / "other")
    trainer = unattached(tmp_path, max_steps=3)
    (monitor,) = [c for c in trainer.callback_handler.callbacks if isinstance(c, MonitorCallback)]
    monitor.attach(other)

    trainer.train()

    assert tiny_hf.column(tmp_path, "loss") == tiny_hf.logged(trainer, "loss")


class ComparesWithAnother(Trainer):
    """Runs the model once more, on other data and without gradients, before its loss is used."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, **kwargs)
        with torch.no_grad():
            model(**{name: value.flip(1) for name, value in inputs.items()})
        return loss


def test_a_forward_without_gradients_is_not_taken_for_the_one_that_is_trained_on(tmp_path: Path) -> None:
    trainer = unattached(tmp_path, kind=ComparesWithAnother, max_steps=3)

    trainer.train()

    assert tiny_hf.column(tmp_path, "loss") == tiny_hf.logged(trainer, "loss")


class NanModel(PlainModule):
    """Its own loss becomes NaN in one step, which ruins its weights."""

    calls = 0

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        loss, guess = super().forward(x, y)
        return loss * (float("nan") if self.calls == 5 else 1.0), guess


def test_a_nan_in_the_models_own_loss_is_seen_although_the_trainer_hides_it(tmp_path: Path) -> None:
    trainer = unattached(tmp_path, NanModel(), points(20), logging_steps=100)
    (monitor,) = [c for c in trainer.callback_handler.callbacks if isinstance(c, MonitorCallback)]

    trainer.train()

    (incident,) = monitor.incidents
    assert (incident.kind, incident.detected_step) == (Kind.NONFINITE, 5)


def test_a_nan_that_compute_loss_adds_shows_in_the_logged_gradient_norm(tmp_path: Path) -> None:
    # From step 4 on the weights are NaN, so the model's loss is too; at step 3 only the norm tells.
    trainer = unattached(tmp_path, kind=type("Third", (Poison,), {"at_call": 3}))
    (monitor,) = [c for c in trainer.callback_handler.callbacks if isinstance(c, MonitorCallback)]

    trainer.train()

    third = tiny_hf.samples(tmp_path)[2].metrics
    assert math.isfinite(third["loss"]) and math.isnan(third["grad_norm"])
    (incident,) = monitor.incidents
    assert (incident.kind, incident.detected_step) == (Kind.NONFINITE, 3)


def test_a_logged_loss_that_the_filter_made_up_is_not_taken(tmp_path: Path) -> None:
    # Without labels the model has no loss, so only the log is left, and that says 0.0 from the NaN on.
    trainer = unattached(tmp_path, kind=type("Third", (Poison,), {"at_call": 3}), label_smoothing_factor=0.1)

    trainer.train()

    assert tiny_hf.logged(trainer, "loss")[2:] == [0.0] * 6
    assert [loss is not None for loss in tiny_hf.column(tmp_path, "loss")] == [True] * 2 + [False] * 6


def test_the_model_is_left_without_a_hook(tmp_path: Path) -> None:
    trainer = unattached(tmp_path, max_steps=2)

    trainer.train()

    assert not trainer.model._forward_hooks


def unattached(folder: Path, model: torch.nn.Module | None = None, data: Any = None, **changes: Any) -> Any:
    monitor = MonitorCallback(folder / "run", tiny_hf.QUIET)
    return tiny_hf.trainer(folder, model, data, options={"callbacks": [monitor]}, **changes)
