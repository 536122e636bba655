"""A small language model and its data for the Lightning tests and the programs they start."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pretrain_monitor import ListSink
from pretrain_monitor.callbacks.lightning import MonitorCallback

VOCABULARY = 16
QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}

torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


class TinyLM(L.LightningModule):
    """Guesses labels token by token; keeps what it was given and what came out, for comparison."""

    def __init__(self, *, dropout: float = 0.0, lr: float = 1e-2, warmup: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Embedding(VOCABULARY, 32), nn.Linear(32, 32), nn.Dropout(dropout), nn.ReLU(), nn.Linear(32, VOCABULARY)
        )
        self.lr = lr
        self.warmup = warmup
        self.losses: list[float] = []  # of each micro-batch
        self.norms: list[float] = []  # of each optimizer step, before clipping
        self.rates: list[float] = []

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        logits = self.net(batch["input_ids"])
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch["labels"].flatten())

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        if not self.warmup:
            return optimizer
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / 10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class ValidatedLM(TinyLM):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


class RecordingLM(TinyLM):
    """Also computes the norm it should see, which costs a norm of its own."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.norms.append(norm_of(optimizer))
        self.rates.append(optimizer.param_groups[0]["lr"])


def norm_of(optimizer: torch.optim.Optimizer) -> float:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None]).item()


def rows(n: int, *, seed: int = 0, length: int = 8) -> list[dict[str, Tensor]]:
    """Rows whose label is the next number."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(n):
        ids = torch.randint(VOCABULARY, (length,), generator=generator)
        made.append({"input_ids": ids, "labels": (ids + 1) % VOCABULARY})
    return made


def watch(run_dir: Any = None, **options: Any) -> tuple[MonitorCallback, ListSink]:
    sink = ListSink()
    return MonitorCallback(run_dir, QUIET, sinks=[sink], **options), sink


def trainer(*callbacks: Any, **options: Any) -> L.Trainer:
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 1,
    }
    return L.Trainer(**{**quiet, **options}, callbacks=list(callbacks))


def loader(data: list[Any], **options: Any) -> DataLoader:
    return DataLoader(data, **{"batch_size": 4, **options})


def fit(model: L.LightningModule, *callbacks: Any, batches: int = 7, **options: Any) -> L.Trainer:
    """Train on ``batches`` batches of 4 rows an epoch."""
    run = trainer(*callbacks, **options)
    run.fit(model, loader(rows(4 * batches)))
    return run


def fingerprint(model: nn.Module) -> str:
    """sha256 over all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()
