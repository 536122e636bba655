"""The loss and tokens of a step from those of its ranks: what each adds to one sum, and what the sum says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

# Always all of it, in this order: a rank with nothing to say adds zeros, so that no other rank waits for it.
SUMMED = (
    "weighted_loss", "weight", "ranks_with_weight", "plain_loss", "ranks_with_loss", "tokens", "ranks_with_tokens",
    "orders",
)  # fmt: skip


def contribution(batch: Mapping[str, Tensor | float], device: torch.device, orders: int = 0) -> Tensor:
    """One rank's addends, in the order of ``SUMMED``.

    Args:
        batch: this rank's ``loss``, ``weight`` and ``tokens``, as far as it has them: numbers or scalar device tensors.
        device: where the sum is made.
        orders: how many this rank has given.
    """
    loss, weight, tokens = (batch.get(name) for name in ("loss", "weight", "tokens"))
    addends: list[Tensor | float] = [0.0] * 5
    if loss is not None:
        loss = _wide(loss) if isinstance(loss, Tensor) else loss
        if isinstance(weight, Tensor):
            weight = _wide(weight)
            if not isinstance(loss, Tensor):
                loss = torch.full_like(weight, loss)
            else:
                weight = on_device(weight, loss.device)
            counts = weight > 0
            has_loss = counts.to(weight.dtype)
            # Selected and not multiplied: the mean loss of no tokens at all is NaN, and 0 x NaN is NaN.
            loss = torch.where(counts, loss, 0.0)
            addends = [loss * weight, weight, has_loss, loss, has_loss]
        elif weight is None:
            addends = [0.0, 0.0, 0.0, loss, 1.0]
        elif weight > 0:
            addends = [loss * weight, weight, 1.0, loss, 1.0]
    return stack([*addends, *((0.0, 0.0) if tokens is None else (tokens, 1.0)), float(orders)], device)


def averaged(batch: Mapping[str, float], ranks: int) -> tuple[float | None, int | None]:
    """Mean loss over the tokens of all ranks and the number of those tokens; None for what is unknown.

    Weights count only if every rank with a loss has one; otherwise the losses count equally.

    Args:
        batch: the sums by the names in ``SUMMED``; of a single rank just its ``loss``, ``weight`` and ``tokens``.
        ranks: how many added to the sums.
    """
    tokens = batch.get("tokens", math.nan)
    if "ranks_with_loss" not in batch:
        return (None if batch.get("weight") == 0 else batch.get("loss")), _whole(tokens)
    if batch["ranks_with_tokens"] < ranks:
        tokens = math.nan
    if batch["ranks_with_loss"] == 0:
        return None, _whole(tokens)
    is_weighted = batch["ranks_with_weight"] == batch["ranks_with_loss"]
    summed, weight = ("weighted_loss", "weight") if is_weighted else ("plain_loss", "ranks_with_loss")
    # Trainers average in float32 and log that; left in float64 the two would differ in the eighth digit.
    with np.errstate(over="ignore"):
        return float(np.float32(batch[summed] / batch[weight])), _whole(tokens)


def stack(scalars: Sequence[Tensor | float], device: torch.device) -> Tensor:
    """Scalars as one vector on a device, in its stream.

    In float64, where tokens stay whole numbers beyond 16.7 million and a loss times its tokens is exact.
    """
    numbers = [scalar for scalar in scalars if not isinstance(scalar, Tensor)]
    if device.type == "cpu" and len(numbers) == len(scalars):
        return torch.tensor(numbers, dtype=torch.float64)
    like = next((scalar for scalar in scalars if isinstance(scalar, Tensor)), None)
    like = torch.empty(0, device=device) if like is None else like
    dtype = _wide_dtype(like.device)
    # Numbers are filled in on the device: copying them there would wait for it.
    filled = [_wide(s) if isinstance(s, Tensor) else like.new_full((), s, dtype=dtype) for s in scalars]
    return torch.stack([on_device(scalar, device) for scalar in filled])


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor there, without waiting for it to get there."""
    return tensor if tensor.device == device else tensor.to(device, non_blocking=True)


def _wide(scalar: Tensor) -> Tensor:
    return scalar.to(_wide_dtype(scalar.device))


def _wide_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _whole(tokens: float) -> int | None:
    return int(tokens) if math.isfinite(tokens) else None
