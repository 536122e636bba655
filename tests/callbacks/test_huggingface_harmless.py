"""The monitor never hurts the run: no bit of it changes, nothing waits, nothing of ours ends it."""

from __future__ import annotations

import gc
import json
import logging
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_hf
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

import pretrain_monitor
from pretrain_monitor.callbacks import hf_taps, huggingface
from pretrain_monitor.callbacks.gather import StepGatherer
from pretrain_monitor.callbacks.huggingface import MonitorCallback

MODES = ("attached", "unattached")
PACKAGE = str(Path(pretrain_monitor.__file__).parent)


def join(trainer: Any, monitor: MonitorCallback, mode: str) -> None:
    if mode == "attached":
        monitor.attach(trainer)
    elif mode == "unattached":
        trainer.add_callback(monitor)


def test_watching_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    outcomes = {}
    for mode in ("bare", *MODES):
        trainer = tiny_hf.trainer(
            tmp_path / mode, tiny_hf.gpt2(), gradient_accumulation_steps=2, max_steps=12, report_to=["tensorboard"]
        )
        assert trainer.model.config.resid_pdrop == 0.1  # so there is something random to disturb
        join(trainer, MonitorCallback(tmp_path / mode / "run", {"console": {"enabled": False}}), mode)
        trainer.train()
        outcomes[mode] = (tiny_hf.weights_hash(trainer.model), tiny_hf.logged(trainer, "loss"), torch.rand(1).item())

    assert outcomes["bare"] == outcomes["attached"] == outcomes["unattached"]
    assert len(tiny_hf.samples(tmp_path / "attached")) == 12


class ScalarReads(TorchDispatchMode):
    """Who reads a tensor's value on the host: item(), float(), bool() and their like all come to one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default):
            frame = sys._getframe(1)
            while "/torch/" in frame.f_code.co_filename:
                frame = frame.f_back
            self.readers[frame.f_code.co_filename, frame.f_code.co_name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", MODES)
def test_no_hook_reads_a_tensor(mode: str, tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, data=tiny_hf.rows(40, padding=3), gradient_accumulation_steps=2)
    join(trainer, MonitorCallback(tmp_path / "run", tiny_hf.QUIET), mode)

    with ScalarReads() as reads:
        trainer.train()

    # It does count: the trainer itself reads the loss for its filter and its log.
    assert any(file.endswith("transformers/trainer.py") for file, _ in reads.readers)
    ours = {(Path(file).name, function) for file, function in reads.readers if file.startswith(PACKAGE)}
    # These two take what lies in the host's own memory at once, which on this machine is everything.
    assert ours <= {("gather.py", "_scalar"), ("losses.py", "settled")}
    assert len(tiny_hf.samples(tmp_path)) == 8


class BrokenGatherer(StepGatherer):
    """Raises in one of its methods."""

    broken = ""

    def __getattribute__(self, name: str) -> Any:
        if name == type(self).broken:
            raise RuntimeError(f"{name} is broken")
        return super().__getattribute__(name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["start", "push", "checkpointed", "finish"])
def test_a_failure_of_ours_ends_nothing_and_is_told_once(
    method: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bare = tiny_hf.trainer(tmp_path / "bare", max_steps=6)
    bare.train()
    monkeypatch.setattr(huggingface, "StepGatherer", BrokenGatherer)
    monkeypatch.setattr(BrokenGatherer, "broken", method)
    trainer = tiny_hf.trainer(tmp_path, max_steps=6, save_strategy="steps", save_steps=1)
    join(trainer, MonitorCallback(tmp_path / "run", tiny_hf.QUIET), mode)

    with caplog.at_level(logging.ERROR, logger="pretrain_monitor"):
        trainer.train()

    assert tiny_hf.weights_hash(trainer.model) == tiny_hf.weights_hash(bare.model)
    told = [record for record in caplog.records if f"{method} is broken" in str(record.exc_info)]
    assert told and len(told) == len({record.getMessage() for record in told})


def test_a_failure_in_putting_a_step_together_does_not_lose_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Sending a step is a collective: if one rank left it out, the others would wait for it.
    monkeypatch.setattr(hf_taps, "sum_losses", lambda micro: 1 / 0)
    trainer = tiny_hf.trainer(tmp_path, max_steps=4)
    tiny_hf.watched(trainer, tmp_path)

    trainer.train()

    assert caplog.text.count("ZeroDivisionError: division by zero") == 1
    assert tiny_hf.column(tmp_path, "grad_norm") == tiny_hf.logged(trainer, "grad_norm")
    assert tiny_hf.column(tmp_path, "loss") == [None] * 4


class Fail(TrainerCallback):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3:
            raise self.error


@pytest.mark.parametrize(
    ("error", "reason"), [(ValueError("bad row"), "crashed: ValueError"), (KeyboardInterrupt(), "interrupted")]
)
def test_an_exception_in_training_closes_the_log_and_passes_through(
    error: BaseException, reason: str, tmp_path: Path
) -> None:
    trainer = tiny_hf.trainer(tmp_path, options={"callbacks": [Fail(error)]})
    tiny_hf.watched(trainer, tmp_path)

    with pytest.raises(type(error)) as caught:
        trainer.train()

    assert caught.value is error
    assert [sample.step for sample in tiny_hf.samples(tmp_path)] == [1, 2, 3]
    assert ending(tmp_path) == reason


def test_after_a_failed_run_the_next_one_starts_clean(tmp_path: Path) -> None:
    for mode in MODES:
        folder = tmp_path / mode
        failing = Fail(ValueError("bad row"))
        trainer = tiny_hf.trainer(folder, options={"callbacks": [failing]}, gradient_accumulation_steps=2)
        join(trainer, MonitorCallback(folder / "run", tiny_hf.QUIET), mode)
        with pytest.raises(ValueError, match="bad row"):
            trainer.train()
        trainer.remove_callback(failing)

        trainer.train()

        assert tiny_hf.column(folder, "loss") == tiny_hf.logged(trainer, "loss")[-8:]
        assert ending(folder) == "finished"
        assert not trainer.model._forward_hooks


def test_a_kept_monitor_does_not_keep_the_trainer_and_its_model_alive(tmp_path: Path) -> None:
    for mode in MODES:
        trainer = tiny_hf.trainer(tmp_path / mode, max_steps=2)
        monitor = MonitorCallback(tmp_path / mode / "run", tiny_hf.QUIET)
        join(trainer, monitor, mode)
        trainer.train()
        model = weakref.ref(trainer.model)

        del trainer
        gc.collect()

        assert model() is None
        assert monitor.incidents == []


@pytest.mark.parametrize("mode", MODES)
def test_steps_that_a_gradient_scaler_skips_are_no_incident(mode: str, tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, fp16=True)
    # A scaler such as accelerate makes for fp16 on a GPU; its first scale is far too large.
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    trainer.accelerator.native_amp = True
    monitor = MonitorCallback(tmp_path / "run", tiny_hf.QUIET)
    join(trainer, monitor, mode)

    trainer.train()

    norms = torch.tensor(tiny_hf.column(tmp_path, "grad_norm"))
    assert not norms[0].isfinite() and norms[-1].isfinite()
    scales = tiny_hf.column(tmp_path, "loss_scale")
    assert scales[0] == 2.0**20 and scales[-1] < 2.0**20
    assert tiny_hf.column(tmp_path, "loss") == tiny_hf.logged(trainer, "loss")
    assert monitor.incidents == []


def ending(folder: Path) -> str:
    last = (folder / "run" / "run.jsonl").read_text().splitlines()[-1]
    return str(json.loads(last)["reason"])
