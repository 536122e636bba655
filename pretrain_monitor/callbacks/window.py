"""What the micro-batches of one optimizer step add up to, without reading a value off the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..distributed import full_scalar
from .gather import Scalar
from .losses import in_float32, settled


class StepWindow:
    """Sums over the micro-batches since the last optimizer step.

    >>> window = StepWindow()
    >>> window.add({"loss": torch.tensor(2.0)}, {"input_ids": torch.zeros(2, 8)}, tokens=16)
    >>> window.add({"loss": torch.tensor(4.0)}, {"input_ids": torch.zeros(1, 8)}, tokens=8)
    >>> window.loss, window.tokens
    (3.0, 24)

    Args:
        is_weighted: whether to count what the losses are averaged over, which only an average over ranks needs.
    """

    def __init__(self, *, is_weighted: bool = False) -> None:
        self.micro_batches = 0
        self.tokens: Scalar = 0
        self.weight: Scalar = 0 if is_weighted else None
        self._losses = 0
        self._loss_sum: Tensor | float | None = None

    def add(self, outputs: Any, batch: Any, tokens: Scalar) -> None:
        """Take in one micro-batch.

        Args:
            outputs: what the trainer made of ``training_step``: a loss, or a mapping with or without one.
            batch: what ``training_step`` was given.
            tokens: trained on in this batch, None if unknown.
        """
        self.micro_batches += 1
        self.tokens = _plus(self.tokens, tokens)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            value = settled(full_scalar(loss))
            self._loss_sum = value if self._loss_sum is None else in_float32(self._loss_sum + value)
            self._losses += 1
            if self.weight is not None:
                labels = _labels_of(batch)
                self.weight = _plus(self.weight, tokens if labels is None else labels)

    @property
    def loss(self) -> Tensor | float | None:
        """Mean over the micro-batches that had a loss; None if there was none."""
        if self._loss_sum is None or self._losses == 1:
            return self._loss_sum
        return in_float32(self._loss_sum / self._losses)


def tokens_of(batch: Any) -> Scalar:
    """Tokens that are not padding, None if the batch does not tell.

    >>> tokens_of({"input_ids": torch.zeros(2, 4), "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])})
    tensor(4)
    """
    if not isinstance(batch, Mapping):
        return None
    mask, ids = batch.get("attention_mask"), batch.get("input_ids")
    # Masks of more dimensions say who attends to whom. Packed rows number their documents, so a 2 is one token too.
    if isinstance(mask, Tensor) and mask.dim() <= 2:
        return (mask != 0).sum()
    return ids.numel() if isinstance(ids, Tensor) else None


def _labels_of(batch: Any) -> Tensor | None:
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    return (labels != -100).sum() if isinstance(labels, Tensor) else None


def _plus(total: Scalar, more: Scalar) -> Scalar:
    # What one micro-batch does not tell is unknown for the whole step.
    return None if total is None or more is None else total + more
