"""The few collectives of the package. Every rank calls each of them, whatever it has to say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

_POLL_S = 0.05  # between looks into the store: thousands of ranks may be looking


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_main_rank() -> bool:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    # Launchers name the rank before there is a process group.
    return os.environ.get("RANK", "0") == "0"


def collective_device() -> torch.device:
    """Where a tensor has to be for the default process group to reduce it.

    Asked of the group and never of a value: all ranks have to come to the same answer.
    """
    for pair in dist.get_backend_config().split(","):
        device, _, backend = pair.partition(":")
        # gloo takes device tensors too, but waits for the device to copy them.
        if device != "cpu" and backend not in ("gloo", "mpi"):
            return torch.device(device, getattr(torch, device).current_device())
    return torch.device("cpu")


def global_grad_norm(parameters: Iterable[Any]) -> Tensor | None:
    """L2 norm of all gradients in float32, as a tensor on their device; None if there are no gradients.

    One fused call. Gradients sharded as DTensors on one mesh cost one collective, so call it on every rank; asking each
    gradient for its full value would cost one collective per parameter. Under pipeline parallelism it is the norm of
    this rank's stage.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not grads:
        return None
    groups: dict[Any, list[Any]] = {}
    for grad in grads:
        # Gradients of different meshes or devices cannot be stacked.
        key = (getattr(grad, "device_mesh", None), grad.device, tuple(getattr(grad, "placements", ())))
        groups.setdefault(key, []).append(grad)
    norms = [_norm(group) for group in groups.values()]
    if len(norms) == 1:
        return norms[0]
    target = norms[0].device
    total: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(target, non_blocking=True) for norm in norms]))
    return total


def _norm(grads: list[Any]) -> Tensor:
    # bfloat16 gradients would give a bfloat16 norm, good for two digits.
    norms = torch.stack(torch._foreach_norm(grads, 2, dtype=torch.float32))
    total: Tensor = torch.linalg.vector_norm(full_scalar(norms))
    return total


def full_scalar(value: Any) -> Any:
    """A DTensor scalar as a plain tensor (at most one collective); anything else as it is."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def do_all_ranks_join(name: str, timeout_s: float) -> bool:
    """Whether every rank calls this with the same name, within ``timeout_s`` of the first; all get the same answer.

    Settled in the key-value store of the process group. A collective would hang in the very case that this is for:
    a program that reports from rank 0 alone.
    """
    store = dist.distributed_c10d._get_default_store()
    joined, verdict = (f"pretrain_monitor/{name}/{key}" for key in ("joined", "verdict"))
    is_last = store.add(joined, 1) == dist.get_world_size()
    deadline = time.monotonic() + timeout_s
    while not is_last and not store.check([verdict]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    # The first to write decides for all: the last rank to join and one that loses patience may cross.
    return bool(store.compare_set(verdict, "", "yes" if is_last else "no") == b"yes")


class RanksLostError(RuntimeError):
    """Some rank is gone or hangs, and the process group with it."""


def do_all_agree(does_agree: bool) -> bool:
    """Whether every rank says yes. A collective: every rank calls it at the same place.

    Raises:
        RanksLostError: not all ranks have answered within the timeout of the process group.
    """
    if not is_distributed():
        return does_agree
    votes = torch.tensor([float(does_agree)], device=collective_device())
    try:
        dist.all_reduce(votes, op=dist.ReduceOp.MIN)
    except RuntimeError as error:
        raise RanksLostError(str(error).partition("\n")[0]) from error
    return bool(votes.item())


def from_main_rank(numbers: list[float]) -> list[float]:
    """Those of rank 0, on every rank; as many everywhere. A collective: every rank calls it at the same place."""
    if not is_distributed():
        return numbers
    mine = numbers if dist.get_rank() == 0 else [0.0] * len(numbers)
    heard = torch.tensor(mine, dtype=torch.float64, device=collective_device())
    dist.all_reduce(heard, op=dist.ReduceOp.SUM)
    result: list[float] = heard.tolist()
    return result


class _Exchange(NamedTuple):
    label: Any
    vector: Tensor
    work: Any


class RankSum:
    """Sums a small vector over ranks while the next step computes.

    A failed collective leaves its process group unusable, so after an exception there is nothing to do but stop.
    """

    def __init__(self) -> None:
        self.size = dist.get_world_size()
        self._held: _Exchange | None = None

    def exchange(self, label: Any, vector: Tensor) -> tuple[Any, Tensor] | None:
        """Send off this step's vector; return the previous label and its sum over ranks, None the first time.

        Raises:
            RuntimeError: the process group has failed, for instance because a rank died.
        """
        # Joining in comes before waiting: trouble with the previous step must not keep the other ranks waiting.
        work = dist.all_reduce(vector, op=dist.ReduceOp.SUM, async_op=True)
        previous, self._held = self._held, _Exchange(label, vector, work)
        return _wait(previous, None)

    def take(self, timeout_s: float | None = None) -> tuple[Any, Tensor] | None:
        """Wait for the sum under way and return it; None if there is none.

        Raises:
            TimeoutError: not all ranks have joined in within ``timeout_s`` seconds.
            RuntimeError: the process group has failed.
        """
        held, self._held = self._held, None
        return _wait(held, timeout_s)


def _wait(held: _Exchange | None, timeout_s: float | None) -> tuple[Any, Tensor] | None:
    if held is None:
        return None
    if timeout_s is not None:
        # NCCL would abort its communicator if wait(timeout) ran out.
        deadline = time.monotonic() + timeout_s
        while not held.work.is_completed():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all ranks joined in within {timeout_s:g} s")
            time.sleep(0.001)
    held.work.wait()
    return held.label, held.vector
