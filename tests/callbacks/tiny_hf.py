"""Real but tiny Hugging Face trainers: two layers, width 32, random tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from pretrain_monitor import Sample, read_run
from pretrain_monitor.callbacks.huggingface import MonitorCallback

# On tensors this small a second thread only waits.
torch.set_num_threads(1)

VOCABULARY = 64
LENGTH = 16

# Neither the terminal nor event files: what these tests look at is the run log.
QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
    )
    return LlamaForCausalLM(config)


def gpt2() -> GPT2LMHeadModel:
    """With dropout 0.1 everywhere."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2))


def rows(count: int, *, padding: int = 0, seed: int = 1) -> list[dict[str, torch.Tensor]]:
    """Random token rows; with ``padding`` every third row ends in that many masked positions."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for index in range(count):
        ids = torch.randint(0, VOCABULARY, (LENGTH,), generator=generator)
        mask, labels = torch.ones(LENGTH, dtype=torch.long), ids.clone()
        if padding and index % 3 == 0:
            mask[-padding:] = 0
            labels[-padding:] = -100
        result.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return result


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    settings: dict[str, Any] = {
        "output_dir": str(folder / "trainer"),
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "max_steps": 8,
    }
    return TrainingArguments(**{**settings, **changes})


def trainer(
    folder: Path,
    model: torch.nn.Module | None = None,
    data: Any = None,
    *,
    kind: type[Trainer] = Trainer,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Trainer:
    """A trainer whose arguments are the tiny ones with ``changes``; ``options`` go to its constructor."""
    # Arguments directly before their trainer: making others resets a state that trainers share.
    return kind(
        model=llama() if model is None else model,
        args=arguments(folder, **changes),
        train_dataset=rows(40) if data is None else data,
        **(options or {}),
    )


def watched(trainer: Trainer, folder: Path, **options: Any) -> MonitorCallback:
    """The trainer with a monitor attached that writes to ``folder / "run"``."""
    return MonitorCallback(folder / "run", options.pop("config", QUIET), **options).attach(trainer)


def samples(folder: Path) -> list[Sample]:
    return list(read_run(folder / "run"))


def column(folder: Path, signal: str) -> list[float | None]:
    return [sample.metrics.get(signal) for sample in samples(folder)]


def logged(trainer: Trainer, signal: str) -> list[float]:
    """What the trainer logged of a signal, in the order of steps."""
    return [entry[signal] for entry in trainer.state.log_history if signal in entry]


def weights_hash(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
