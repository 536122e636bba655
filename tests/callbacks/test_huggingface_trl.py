"""TRL: a real supervised fine-tuning run, with a tokenizer built here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_hf
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

WORDS = [f"word{index}" for index in range(60)]


@pytest.mark.parametrize(
    "changes",
    [
        {"bf16": True, "activation_checkpointing": True},  # what TRL does by itself
        {"gradient_accumulation_steps": 3, "num_train_epochs": 2, "max_steps": -1},
        {"packing": True, "packing_strategy": "wrapped", "max_length": 8},
    ],
    ids=["defaults", "accumulation", "packing"],
)
def test_each_step_of_supervised_fine_tuning_is_exact(changes: dict[str, Any], tmp_path: Path) -> None:
    trainer = fine_tuning(tmp_path, **changes)
    tiny_hf.watched(trainer, tmp_path)

    trainer.train()

    samples = tiny_hf.samples(tmp_path)
    assert len(samples) == trainer.state.global_step >= 4
    for signal in ("loss", "grad_norm", "learning_rate"):
        assert tiny_hf.column(tmp_path, signal) == tiny_hf.logged(trainer, signal)
    # TRL keeps a count of its own.
    assert [sample.tokens_seen for sample in samples] == tiny_hf.logged(trainer, "num_tokens")


def fine_tuning(folder: Path, **changes: Any) -> SFTTrainer:
    sentences = [" ".join(WORDS[(7 * i + 3 * j) % 60] for j in range(5 + i % 9)) for i in range(20)]
    settings = {
        "output_dir": str(folder / "trainer"),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "max_length": tiny_hf.LENGTH,
        "bf16": False,
        "activation_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return SFTTrainer(
        model=tiny_hf.llama(),
        args=SFTConfig(**{**settings, **changes}),
        train_dataset=Dataset.from_dict({"text": sentences}),
        processing_class=tokenizer(),
    )


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", model_max_length=tiny_hf.LENGTH
    )
