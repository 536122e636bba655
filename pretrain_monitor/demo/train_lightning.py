"""The demo with Lightning: the callback in the Trainer's list is all that a job of your own needs."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning
from torch import Tensor

from ..callbacks.lightning import MonitorCallback
from .batches import PlannedRows
from .held_out import SCHEDULE, held_out_probe
from .model import GPT
from .plan import Plan
from .recipe import CLIP_NORM, loader_of, optimizer_of
from .text import Domain


class LanguageModel(lightning.LightningModule):  # type: ignore[misc]  # lightning ships no types that mypy follows
    """The GPT with its loss and its optimizer, as Lightning wants them."""

    def __init__(self, model: GPT, plan: Plan) -> None:
        super().__init__()
        self.model = model
        self.plan = plan

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.model(**batch)["loss"]
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer, schedule = optimizer_of(self.model, self.plan)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(model: GPT, rows: PlannedRows, plan: Plan, text: dict[str, Domain], run_dir: Path) -> None:
    # Which accelerators there are, and advertising.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # A LightningModule's own forward may be anything, so the probe is told how to get logits from this one.
    probe = held_out_probe(text, forward=lambda module, input_ids: module.model(input_ids))
    trainer = lightning.Trainer(
        max_epochs=1,
        limit_train_batches=plan.steps,
        accelerator="cpu",
        devices=1,
        gradient_clip_val=CLIP_NORM,
        callbacks=[MonitorCallback(run_dir, {"probes": SCHEDULE}, probes=[probe])],
        default_root_dir=run_dir,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        # Advice on data-loader workers, and Lightning's use of what torch has deprecated: nothing for this demo.
        warnings.filterwarnings("ignore", module=r"lightning\.")
        trainer.fit(LanguageModel(model, plan), loader_of(rows))
