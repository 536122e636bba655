"""Hugging Face Trainer: one line attaches the monitor, and it sees every optimizer step whatever logging_steps says.

    python examples/hf_trainer.py --steps 400 --run-dir runs/hf_trainer

Needs pip install 'pretrain-monitor[huggingface]'.
"""

import torch
from tiny import CONTEXT, VOCABULARY, Windows, arguments, library_text
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from pretrain_monitor.callbacks.huggingface import MonitorCallback


def collate(rows: list[Tensor]) -> dict[str, Tensor]:
    tokens = torch.stack(rows)
    return {"input_ids": tokens, "labels": tokens}


def main() -> None:
    args = arguments("hf_trainer")
    set_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT + 1,
    )
    trainer = Trainer(
        model=LlamaForCausalLM(config),
        args=TrainingArguments(
            output_dir=f"{args.run_dir}/checkpoints",
            max_steps=args.steps,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            learning_rate=3e-3,
            warmup_steps=20,
            lr_scheduler_type="cosine",
            logging_steps=50,
            save_strategy="no",
        ),
        train_dataset=Windows(library_text()),
        data_collator=collate,
    )
    MonitorCallback(run_dir=args.run_dir).attach(trainer)
    trainer.train()


if __name__ == "__main__":
    main()
