"""Trains under the monitor and kills itself the hard way: ``python lightning_killed.py DIR STEP``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_parts import TinyLM, loader, rows, trainer, watch

BATCHES_PER_EPOCH = 20
STEPS = 320
NOISE_FROM, NOISE_BATCHES = 230, 6


class NoisyLM(TinyLM):
    """Learns a clean task, but a handful of batches early in the 12th epoch are noise."""

    def training_step(self, batch, batch_idx):
        step = self.global_step + 1
        if NOISE_FROM <= step < NOISE_FROM + NOISE_BATCHES:
            batch = {**batch, "labels": (batch["labels"] * 7 + step) % 16}
        return super().training_step(batch, batch_idx)


class KillAt(L.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(directory: Path, *callbacks: L.Callback, ckpt_path: Path | None = None):
    """Every epoch ends with a checkpoint, so that a resumed run sees the data an uninterrupted one would have seen."""
    monitor, _ = watch(directory / "monitor")
    checkpoints = ModelCheckpoint(directory, every_n_train_steps=BATCHES_PER_EPOCH, save_top_k=-1)
    limits = {"max_epochs": -1, "max_steps": STEPS, "gradient_clip_val": 1.0}
    run = trainer(monitor, *callbacks, checkpoints, enable_checkpointing=True, **limits)
    data = rows(4 * BATCHES_PER_EPOCH)
    run.fit(NoisyLM(lr=3e-4), loader(data), ckpt_path=ckpt_path)
    return monitor


if __name__ == "__main__":
    train(Path(sys.argv[1]), KillAt(int(sys.argv[2])))
