"""How several ranks share the work of a probe. Every rank calls everything here, in the same order."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ..distributed import collective_device, is_distributed
from .base import ProbeError
from .company import Company, is_fsdp2
from .language_model import LanguageModel
from .meeting import AFTER, FORWARD, START, SUM, ElsewhereError, OutOfStep, largest, meet
from .rows import Row


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
        self._company = Company(model.root) if self.go_together else None

    def begin(self, rows: Sequence[Row]) -> None:
        """All ranks are here, with the same rows.

        Raises:
            ProbeError: they have others.
            OutOfStep: some ranks have left the probe before they came here.
        """
        if self._is_several:
            try:
                meet(START + _checksum(rows))
            except OutOfStep as error:
                if error.first < START:
                    raise
                raise ProbeError(
                    "the ranks were given different texts: give each of them the same ones in the same order"
                ) from None

    def turns(self, batches: int) -> Iterator[tuple[int, bool]]:
        """Numbers of this rank's batches, and whether each counts or is only read to keep the others company."""
        turns = -(-batches // self.sharing)
        for turn in range(turns):
            mine = turn * self.sharing + self._rank % self.sharing
            if mine < batches:
                yield mine, True
            elif self.go_together:
                yield batches - 1, False

    def watching(self) -> AbstractContextManager[None]:
        """For all forward passes; leaves the model as it is between two steps of a training."""
        return contextlib.nullcontext() if self._company is None else self._company.kept()

    def learn(self, forward: Callable[[], Any]) -> None:
        """Where ranks go together: a forward pass that is sure to fit into memory, before all others.

        Raises:
            OutOfStep: another rank has left the probe.
        """
        if self._company is None:
            return
        # Whoever is not here by now would be waited for inside the model, where nobody can be told to stop.
        meet(FORWARD)
        if self._company.knows_order:
            return
        problem: Exception | None = None
        self._company.start()
        try:
            forward()
        except Exception as error:
            problem = error.with_traceback(None)
        if problem is not None:
            self._company.catch_up()
        if self.worst(problem is not None):
            raise problem or ElsewhereError
        self._company.remember_order()

    def start_forward(self) -> None:
        if self._company is not None:
            self._company.start()

    def catch_up(self) -> None:
        """A forward pass has failed on this rank; nothing of it may be in memory any more."""
        if self._company is not None:
            self._company.catch_up()

    def worst(self, trouble: int) -> int:
        """The largest on any rank, where all of them have to do the same in the next forward pass."""
        if self._company is None:
            return trouble
        worst = largest(FORWARD, float(trouble))
        if worst.first != worst.last:
            raise OutOfStep("it failed on another rank", worst.first)
        if worst.value:
            self._company.forget()
        return int(worst.value)

    def first_problem(self, work: Callable[[], None]) -> str | None:
        """Do this rank's part; what stopped any of the ranks, in a line, or None.

        Raises:
            OutOfStep: another rank has left the probe.
        """
        problem = None
        try:
            work()
        except OutOfStep:
            raise
        except ProbeError as error:
            problem = str(error)
        except ElsewhereError:
            pass
        except Exception as error:
            problem = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            if not self._is_several:
                raise
        return meet(AFTER, problem) if self._is_several else problem

    def summed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Added up over the ranks that share the work.

        Raises:
            OutOfStep: another rank has left the probe.
        """
        if self.sharing == 1:
            return values
        total = torch.from_numpy(values).to(collective_device())
        # A rank may have failed to put its model back as it was. It will be at a meeting, which is no sum of this size:
        # gloo would end the process.
        meet(SUM)
        dist.all_reduce(total)
        result: NDArray[np.float64] = total.cpu().numpy()
        return result


def _checksum(rows: Sequence[Row]) -> int:
    """Of everything that decides what is measured."""
    checksum = len(rows)
    for row in rows:
        for part in (row.ids, row.at, row.targets, row.owners):
            checksum = zlib.crc32(np.ascontiguousarray(part).data, checksum)
    return checksum


def _is_spread_over_all_ranks(model: Any) -> bool:
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return True
    is_fsdp = any(map(is_fsdp2, model.modules()))
    meshes = [p.device_mesh for p in model.parameters() if hasattr(p, "device_mesh")]
    return is_fsdp and all(mesh.ndim == 1 and mesh.size() == dist.get_world_size() for mesh in meshes)
