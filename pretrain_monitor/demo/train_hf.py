"""The demo with the Hugging Face Trainer: ``attach`` is the one line that a job of your own needs."""

from __future__ import annotations

from pathlib import Path

from transformers import Trainer, TrainingArguments

from ..callbacks.huggingface import MonitorCallback
from .batches import PlannedRows
from .held_out import SCHEDULE, held_out_probe
from .model import GPT
from .plan import Plan
from .recipe import BATCH_SIZE, CLIP_NORM, optimizer_of
from .text import Domain


def train(model: GPT, rows: PlannedRows, plan: Plan, text: dict[str, Domain], run_dir: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(run_dir),
        max_steps=plan.steps,
        per_device_train_batch_size=BATCH_SIZE,
        max_grad_norm=CLIP_NORM,
        logging_steps=200,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=rows, optimizers=optimizer_of(model, plan))
    MonitorCallback(run_dir, {"probes": SCHEDULE}, probes=[held_out_probe(text)]).attach(trainer)
    trainer.train()
