"""How several ranks share the work of a probe. Every rank calls everything here, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ..distributed import collective_device, is_distributed
from .base import ProbeError
from .language_model import LanguageModel


class Ranks:
    """The ranks of a run, as far as a probe has to do with them.

    A model that each rank holds as a whole is asked for other batches on each. So is one that FSDP has spread over all
    ranks, but there everybody makes each forward pass together, with a batch of his own or one that does not count.
    Where ranks hold parts of one layer (tensor parallelism) all of them compute everything, which is right and slow.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._is_several = is_distributed()
        self._rank = dist.get_rank() if self._is_several else 0
        self.go_together = model.is_sharded and self._is_several
        does_share = self._is_several and (not self.go_together or _is_spread_over_all_ranks(model.root))
        self.sharing = dist.get_world_size() if does_share else 1

    def turns(self, batches: int) -> Iterator[tuple[int, bool]]:
        """Numbers of this rank's batches, and whether each counts or is only read to keep the others company."""
        turns = -(-batches // self.sharing)
        for turn in range(turns):
            mine = turn * self.sharing + self._rank % self.sharing
            if mine < batches:
                yield mine, True
            elif self.go_together:
                yield batches - 1, False

    def worst(self, trouble: int) -> int:
        """The largest on any rank, where all of them have to do the same in the next forward pass."""
        return int(self._largest(float(trouble))) if self.go_together else trouble

    def first_problem(self, work: Callable[[], None]) -> str | None:
        """Do this rank's part; what stopped any of the ranks, in a line, or None."""
        problem = None
        try:
            work()
        except ProbeError as error:
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            if not self._is_several:
                raise
        if not self._is_several:
            return problem
        if self._largest(float(problem is not None)) and problem is None:
            problem = "it failed on another rank, which says why"
        return problem

    def summed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Added up over the ranks that share the work."""
        if self.sharing == 1:
            return values
        total = torch.from_numpy(values).to(collective_device())
        dist.all_reduce(total)
        result: NDArray[np.float64] = total.cpu().numpy()
        return result

    def settle(self, model: torch.nn.Module) -> None:
        """Give back the memory in which FSDP2 keeps a root's weights for a backward pass that will not come."""
        for module in model.modules():
            if _is_fsdp2(module):
                module.reshard()  # type: ignore[operator]

    def _largest(self, value: float) -> float:
        tensor = torch.tensor(value, device=collective_device())
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return float(tensor)


def _is_spread_over_all_ranks(model: Any) -> bool:
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return True
    is_fsdp = any(map(_is_fsdp2, model.modules()))
    meshes = [p.device_mesh for p in model.parameters() if hasattr(p, "device_mesh")]
    return is_fsdp and all(mesh.ndim == 1 and mesh.size() == dist.get_world_size() for mesh in meshes)


def _is_fsdp2(module: torch.nn.Module) -> bool:
    return hasattr(module, "reshard") and hasattr(module, "unshard")
