"""The few collectives of the package. Every rank calls each of them, whatever it has to say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_main_rank() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def collective_device() -> torch.device:
    """Where a tensor has to be for the default process group to reduce it."""
    if "nccl" in str(dist.get_backend()):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def global_grad_norm(parameters: Iterable[Any]) -> Tensor | None:
    """L2 norm of all gradients in float32, as a tensor on their device; None if there are no gradients.

    One fused call. Gradients sharded as DTensors on one mesh cost one collective, so call it on every rank; asking each
    gradient for its full value would cost one collective per parameter.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not grads:
        return None
    groups: dict[Any, list[Any]] = {}
    for grad in grads:
        # Gradients of different meshes or devices cannot be stacked.
        key = (getattr(grad, "device_mesh", None), grad.device, tuple(getattr(grad, "placements", ())))
        groups.setdefault(key, []).append(grad)
    squares = [_norm(group) ** 2 for group in groups.values()]
    target = squares[0].device
    return torch.stack([square.to(target) for square in squares]).sum().sqrt()


def _norm(grads: list[Any]) -> Tensor:
    # bfloat16 gradients would give a bfloat16 norm, good for two digits.
    norms = torch.stack(torch._foreach_norm(grads, 2, dtype=torch.float32))
    if hasattr(norms, "full_tensor"):
        norms = norms.full_tensor()
    total: Tensor = torch.linalg.vector_norm(norms)
    return total


def full_scalar(value: Any) -> Any:
    """A DTensor scalar as a plain tensor (one collective); anything else as it is."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


class RankMean:
    """Sums a small vector over ranks while the next step computes."""

    def __init__(self) -> None:
        self._work: Any = None
        self._held: tuple[Any, Tensor] | None = None

    def exchange(self, label: Any, vector: Tensor) -> tuple[Any, Tensor] | None:
        """Send off this step's vector; return the previous label and its sum over ranks, None the first time."""
        previous = self.take()
        self._work = dist.all_reduce(vector, op=dist.ReduceOp.SUM, async_op=True)
        self._held = (label, vector)
        return previous

    def take(self) -> tuple[Any, Tensor] | None:
        """Wait for the sum under way and return it."""
        held, self._held = self._held, None
        if held is not None:
            self._work.wait()
        return held
