"""The learning rate that a step used, even if a scheduler has moved on since."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from .averaging import on_device

_MAX_WRAPPERS = 4


class UsedLearningRates:
    """Notes the learning rate of each optimizer whenever it steps.

    Hooked to all optimizers from the start: a monitor first hears of an optimizer after its first step.
    """

    def __init__(self) -> None:
        self._used: WeakKeyDictionary[Any, Tensor | float] = WeakKeyDictionary()
        self._hook = register_optimizer_step_pre_hook(self._remember)

    def largest(self, optimizers: Any) -> Tensor | float:
        """Largest rate over all parameter groups of one optimizer, or of a list of them.

        Raises:
            AttributeError: not an optimizer.
        """
        if not isinstance(optimizers, list | tuple):
            return self._of(optimizers)
        return _largest([self._of(optimizer) for optimizer in optimizers])

    def close(self) -> None:
        self._hook.remove()

    def _of(self, optimizer: Any) -> Tensor | float:
        inner = optimizer
        for _ in range(_MAX_WRAPPERS):
            try:
                used = self._used.get(inner)
            except TypeError:
                used = None  # nothing can refer to it weakly, so it is no optimizer of torch's
            if used is not None:
                return used
            if not hasattr(inner, "optimizer"):
                break
            inner = inner.optimizer  # Fabric and Accelerate wrap theirs
        return largest_rate(optimizer)  # not one of torch's, or it has not stepped yet

    def _remember(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        try:
            self._used[optimizer] = largest_rate(optimizer)
        except Exception:
            # Inside the user's optimizer.step(), so not a word; ``largest`` meets the same trouble and may speak.
            self._used.pop(optimizer, None)


def largest_rate(optimizer: Any) -> Tensor | float:
    """Largest learning rate over an optimizer's parameter groups; a tensor if the optimizer keeps it on a device."""
    rates: list[float] = []
    for group in optimizer.param_groups:
        rates.append(group["lr"])
        if type(rates[-1]) is not float:
            return _largest([group["lr"] for group in optimizer.param_groups])
    return max(rates)


def _largest(rates: list[Tensor | float]) -> Tensor | float:
    numbers = [float(rate) for rate in rates if not isinstance(rate, Tensor) or rate.device.type == "cpu"]
    tensors = [rate.detach().reshape(()) for rate in rates if isinstance(rate, Tensor) and rate.device.type != "cpu"]
    if not tensors:
        return max(numbers)
    # Compared on the device, which nobody has to wait for; and a copy, for schedulers change the tensor in place.
    first = tensors[0]
    others = [first.new_full((), number) for number in numbers]
    return torch.stack([*(on_device(tensor, first.device) for tensor in tensors), *others]).amax()
