"""Whether an update is left out, decided on the device: the host neither asks nor waits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..distributed import full_scalar
from .rate_factor import innermost
from .step_gate import MEMORY, MOST_IN_A_ROW, SD_OF_MEAN_DEVIATION, SMALLEST_SD, WARM_UP


class DeviceGate:
    """The rule of ``StepGate`` in tensors: what is not finite or was left out does not enter what is usual.

    A fused optimizer of torch's takes a tensor that says whether to do anything; it is meant for gradient scalers, and
    leaves weights, moments and step counts alone bit by bit.

    Args:
        extreme_sd: robust sd beyond which a norm is extreme; None: never.
    """

    def __init__(self, extreme_sd: float | None) -> None:
        self._limit = math.inf if extreme_sd is None else extreme_sd
        self._state: Tensor | None = (
            None  # norms seen, centre and mean deviation of their logarithms, extremes in a row
        )

    def decide(self, norm: Any) -> Tensor:
        """1 if the update is to be left out, else 0; float32, on the device of the norm.

        Args:
            norm: of all gradients before clipping, a scalar tensor.
        """
        norm = full_scalar(norm).detach().reshape(()).float()
        if self._state is None:
            self._state = norm.new_zeros(4, dtype=torch.float64)
        seen, centre, deviation, in_a_row = self._state.unbind()
        is_finite = norm.isfinite() & (norm > 0)
        x = torch.where(is_finite, norm, 1.0).double().log()
        sd = (SD_OF_MEAN_DEVIATION * deviation).clamp_min(SMALLEST_SD)
        is_beyond = is_finite & (seen >= WARM_UP) & ((x - centre) / sd > self._limit)
        is_new_normal = is_beyond & (in_a_row >= MOST_IN_A_ROW)
        is_left_out = norm.isfinite().logical_not() | (is_beyond & is_new_normal.logical_not())
        learns = is_finite & is_left_out.logical_not()
        first = torch.where(is_new_normal, 0.0, seen) < 1
        after = torch.where(is_new_normal, 0.0, seen) + 1
        weight = (1 / after).clamp_min(1 / MEMORY)
        largest = torch.where(after > WARM_UP, 3 * deviation, math.inf)
        gap = torch.minimum(torch.maximum(x - centre, -largest), largest)
        learned = torch.stack(
            (
                after,
                torch.where(first, x, centre + weight * gap),
                torch.where(first, 0.0, deviation + weight * (gap.abs() - deviation)),
                torch.zeros_like(x),
            )
        )
        kept = torch.stack((seen, centre, deviation, in_a_row + is_beyond))
        self._state = torch.where(learns, learned, kept)
        decision: Tensor = is_left_out.float()
        return decision


class FoundInf:
    """Hands the decision to an optimizer for its next step, and takes it back afterwards."""

    def __init__(self) -> None:
        self._hooked: list[Any] = []
        self._hooks: list[Any] = []

    @staticmethod
    def is_understood_by(optimizer: Any) -> bool:
        return bool(getattr(innermost(optimizer), "_step_supports_amp_scaling", False))

    def tell(self, optimizer: Any, is_left_out: Tensor) -> None:
        optimizer = innermost(optimizer)
        if not any(optimizer is known for known in self._hooked):
            self._hooked.append(optimizer)
            self._hooks.append(optimizer.register_step_post_hook(_take_back))
        optimizer.grad_scale, optimizer.found_inf = None, is_left_out

    def close(self) -> None:
        for optimizer in self._hooked:
            _take_back(optimizer, (), {})
        for hook in self._hooks:
            hook.remove()
        self._hooked.clear()
        self._hooks.clear()


def _take_back(optimizer: Any, args: Any, kwargs: Any) -> None:
    for name in ("grad_scale", "found_inf"):
        vars(optimizer).pop(name, None)
