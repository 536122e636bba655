"""What every framework's demo trains with: the same batches, optimizer, clipping and schedule."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from .batches import PlannedRows
from .plan import PEAK_RATE, Plan

BATCH_SIZE = 24  # rows of CONTEXT bytes: many short rows make a steadier loss than few long ones
CONTEXT = 64
CLIP_NORM = 1.0


def loader_of(rows: PlannedRows) -> DataLoader[Any]:
    # No workers: making a batch takes a hundredth of a training step.
    return DataLoader(rows, batch_size=BATCH_SIZE)


def optimizer_of(model: nn.Module, plan: Plan) -> tuple[Optimizer, LambdaLR]:
    """AdamW and the planned learning rate; call the scheduler's ``step`` after each optimizer step."""
    optimizer = AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    # The scheduler counts steps completed, the plan counts the step that is being made.
    return optimizer, LambdaLR(optimizer, lambda completed: plan.learning_rate(completed + 1) / PEAK_RATE)
