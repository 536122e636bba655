"""Language models for probes in Lightning trainings, and how they are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning_parts import QUIET, ValidatedLM, trainer
from torch import nn
from torch.utils.data import DataLoader

from pretrain_monitor.callbacks.lightning import MonitorCallback
from tests.probes.probe_parts import EVERY_10, LENGTH, randomness, weights

VOCABULARY = 64


class ProbedLM(ValidatedLM):
    """Knows 64 tokens; dropout; no forward of its own, and one module that has one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Embedding(VOCABULARY, 32), nn.Linear(32, 32), nn.Dropout(0.1), nn.ReLU(), nn.Linear(32, VOCABULARY)
        )


class ManualLM(ProbedLM):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=0.5)
        optimizer.step()
        return loss


def data(count: int = 64) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(VOCABULARY, (count, LENGTH), generator=generator)
    return [{"input_ids": row[:-1], "labels": row[1:]} for row in rows]


def watch(run_dir: Path, probes: list[Any], **schedule: Any) -> MonitorCallback:
    return MonitorCallback(run_dir, {**QUIET, "probes": {**EVERY_10, **schedule}}, probes=probes)


def fit(model: L.LightningModule, *callbacks: Any, seed: int = 3, resume: Path | None = None, **options: Any) -> Any:
    """Train on shuffled rows, four at a time; everything that probes could have changed."""
    L.seed_everything(seed, verbose=False)
    run = trainer(*callbacks, **{"max_epochs": -1, **options})
    loaders = [DataLoader(data(), batch_size=4, shuffle=True)]
    if options.get("limit_val_batches") != 0:
        loaders.append(DataLoader(data(8), batch_size=4))
    run.fit(model, *loaders, ckpt_path=resume)
    return {"weights": weights(model), "losses": model.losses, "random": randomness()}
