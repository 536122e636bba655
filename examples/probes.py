"""Probes: held-out text of two domains, and invented facts that are mixed into the training data.

    python examples/probes.py --steps 400 --run-dir runs/probes

Needs pip install 'pretrain-monitor[huggingface]'.
"""

import torch
from tiny import CONTEXT, VOCABULARY, Windows, arguments, library_text
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from pretrain_monitor.callbacks.huggingface import MonitorCallback
from pretrain_monitor.probes import FactProbe, PerplexityProbe, invent_facts, training_texts


def tokenizer(text: str) -> list[int]:
    return list(text.encode())


def collate(rows: list[Tensor]) -> dict[str, Tensor]:
    tokens = torch.stack(rows)
    return {"input_ids": tokens, "labels": tokens}


def main() -> None:
    args = arguments("probes")
    set_seed(0)
    facts = invent_facts(30, exposures=(4, 64))
    told = torch.tensor(tokenizer("\n".join(training_texts(facts))))
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
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            warmup_steps=20,
            logging_steps=50,
            save_strategy="no",
        ),
        train_dataset=Windows(torch.cat([library_text(400_000), told])),
        data_collator=collate,
    )
    held_out = bytes(library_text(1_100_000)[1_000_000:].tolist()).decode(errors="ignore")
    heldout = PerplexityProbe(
        {
            # Of a part that it is not trained on, in pieces of a thousand characters.
            "code": [held_out[start : start + 1000] for start in range(0, 12_000, 1000)],
            "documentation": {"module": "pydoc_data.topics", "name": "topics", "limit": 4},
        },
        tokenizer,
    )
    schedule = {"every_steps": 100, "budget_percent": 20.0}
    MonitorCallback(args.run_dir, {"probes": schedule}, probes=[heldout, FactProbe(facts, tokenizer)]).attach(trainer)
    trainer.train()


if __name__ == "__main__":
    main()
