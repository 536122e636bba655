"""Checkpoints as a trainer leaves them, small enough to be made for a test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from small_tokenizers import of_bytes
from tiny_models import tiny_llama

TEXTS = ("the cat sat on the mat and looked at the dog", "a dog that saw the cat ran after it, but not for long")


def save_tokenizer(folder: Path, size: int = 280) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    of_bytes(*TEXTS, size=size).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def save_model(folder: Path, *, seed: int = 0, step: int | None = None, has_tokenizer: bool = True) -> Path:
    """A Llama with random weights, and the state of a trainer if there is a step."""
    model = tiny_llama(vocab_size=280)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    if has_tokenizer:
        save_tokenizer(folder)
    if step is not None:
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder
