"""From micro-batches to a step, computed as the Hugging Face Trainer computes it, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .gather import Scalar
from .losses import in_float32, settled


@dataclass(slots=True)
class MicroBatch:
    """One forward and backward pass.

    Args:
        loss: in nats, settled or in memory of its own; None if unknown.
        tokens: None if unknown.
        is_scaled: whether the losses of a step add up to its loss; otherwise they are to be averaged.
    """

    loss: Tensor | float | None
    tokens: Scalar
    is_scaled: bool


def sum_losses(micro: Sequence[MicroBatch]) -> Tensor | float | None:
    """Loss of a step, None if any part is unknown; in float32 and one by one, which is how the trainer sums."""
    total: Tensor | float | None = None
    for part in micro:
        if part.loss is None:
            return None
        loss = settled(part.loss) if isinstance(part.loss, Tensor) else part.loss
        total = loss if total is None else in_float32(total + loss)
    return total


def sum_tokens(micro: Sequence[MicroBatch]) -> Scalar:
    """Tokens of a step, None if those of any part are unknown."""
    total: Scalar = 0
    for part in micro:
        if part.tokens is None or total is None:
            return None
        total = total + part.tokens
    return total if micro else None


def as_trainer_scales(micro: Sequence[MicroBatch], *, ranks: int) -> list[MicroBatch]:
    """Losses as the model returned them -> the shares of the step's loss that the trainer makes of them.

    Args:
        ranks: over which the model's denominator reaches; 1 if each rank divides by its own tokens.
    """
    scaled = []
    for part in micro:
        loss = part.loss
        if loss is not None:
            # Divided by the tokens of all ranks, the loss is a share; the mean over ranks comes later.
            loss = loss * ranks if part.is_scaled else loss / len(micro)
        scaled.append(MicroBatch(loss, part.tokens, part.is_scaled))
    return scaled


def loss_in(output: Any) -> Tensor | None:
    """The scalar loss in a model's output, found where the trainer looks for it.

    >>> loss_in({"loss": torch.tensor(2.5), "logits": torch.zeros(1, 4)}), loss_in((torch.zeros(1, 4),))
    (tensor(2.5000), None)
    """
    loss = output.get("loss") if isinstance(output, dict) else output[0] if isinstance(output, tuple | list) else None
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 else None
