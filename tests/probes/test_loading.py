from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from models_on_disk import save_model
from safetensors.torch import load_file, save_file

from pretrain_monitor.probes import ProbeError
from pretrain_monitor.probes.checkpoints import Checkpoint, find_checkpoints
from pretrain_monitor.probes.loading import checked_device, load_model
from pretrain_monitor.probes.memory import PeakMemory

CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_model(tmp_path / "m")


def found(path: Path) -> Checkpoint:
    (checkpoint,) = find_checkpoints([path])
    return checkpoint


def refused(path: Path) -> str:
    with pytest.raises(ProbeError) as caught:
        load_model(found(path), device=CPU)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    return message


def change_weights(path: Path, name: str, value: torch.Tensor | None) -> None:
    weights = load_file(path / "model.safetensors")
    if value is None:
        del weights[name]
    else:
        weights[name] = value
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def test_a_model_is_loaded_as_it_was_saved_and_in_evaluation_mode(saved: Path):
    model, notes = load_model(found(saved), device=CPU)
    assert (model.training, notes) == (False, [])
    assert next(model.parameters()).dtype is torch.float32
    weights = load_file(saved / "model.safetensors")
    assert torch.equal(model.state_dict()["model.norm.weight"], weights["model.norm.weight"])


def test_the_dtype_can_be_chosen(saved: Path):
    model, _ = load_model(found(saved), device=CPU, dtype="bfloat16")
    assert next(model.parameters()).dtype is torch.bfloat16
    with pytest.raises(ProbeError, match="give one of auto, float32, bfloat16, float16"):
        load_model(found(saved), device=CPU, dtype="int8")  # type: ignore[arg-type]


def test_weights_that_are_missing_are_never_replaced_by_random_ones(saved: Path):
    change_weights(saved, "model.norm.weight", None)
    assert "lacks 1 of the model's weights: model.norm.weight" in refused(saved)


def test_weights_of_another_shape_are_named(saved: Path):
    change_weights(saved, "model.norm.weight", torch.zeros(7))
    assert "another shape than its config.json says 1 of the model's weights: model.norm.weight" in refused(saved)


def test_weights_that_nobody_asked_for_are_noted(saved: Path):
    change_weights(saved, "value_head.weight", torch.zeros(7))
    _, notes = load_model(found(saved), device=CPU)
    assert notes == ["weights that its architecture has no use for: value_head.weight"]


def test_a_file_that_was_cut_off_is_one_line(saved: Path):
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "its weights are damaged or cut off" in refused(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "nothing-known"}, "cannot be loaded"),
        ({"model_type": "t5"}, "is no causal language model that transformers knows"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}},
            "needs program code of its own, and such code is never run",
        ),
    ],
)
def test_an_architecture_that_cannot_be_used_is_one_line(saved: Path, change: dict, said: str):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **change}))
    assert said in refused(saved)


def test_a_device_that_is_not_here_is_refused_with_those_that_are():
    assert checked_device("cpu") == CPU
    for device in ("nonsense", "cuda:99", "meta"):
        with pytest.raises(ProbeError, match=f"device '{device}' .*cpu"):
            checked_device(device)


def test_the_peak_of_memory_begins_anew_each_time():
    # More than the 32 MB up to which an allocator may keep memory that was given back.
    large = torch.ones(60_000_000)
    del large
    memory = PeakMemory(CPU)
    before = memory.bytes()
    small = torch.ones(25_000_000)
    after = memory.bytes()
    del small
    if before is None or after is None:
        # Only Linux tells, and only this.
        assert (before, after) == (None, None)
    else:
        assert 80e6 < after - before < 200e6
