"""Losses of micro-batches, ready to be added up in float32 as trainers do: on the host, or where they are."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor


def settled(loss: Tensor) -> Tensor | float:
    """The loss as it is now: a trainer may go on computing in the memory of this one.

    A number if the host has it, which costs a tenth of a copy; else a copy on its device, where nobody waits for it.
    """
    # A DTensor says it is on the host even if its value is spread over ranks.
    if type(loss) is Tensor and loss.is_cpu:
        value = loss.item()
        return value if loss.dtype is torch.float32 else in_float32(value)
    return loss.detach().to(torch.float32, copy=True)


def in_float32(result: Tensor | float) -> Tensor | float:
    """What one operation on settled losses gives in float32. Tensors compute in it by themselves.

    Exact: a sum, product or quotient of two float32 is the same whether it is rounded at once or by way of float64.

    >>> in_float32(settled(torch.tensor(0.1)) + settled(torch.tensor(0.2))) == (torch.tensor(0.1) + 0.2).item()
    True
    """
    return result if isinstance(result, Tensor) else ctypes.c_float(result).value
