"""What rank 0 decides about probes, told to the other ranks: all of them have to start a round together."""

from __future__ import annotations

import itertools
import logging

import torch.distributed as dist

from ..distributed import do_all_ranks_join, is_distributed

logger = logging.getLogger(__name__)

_names = itertools.count()  # names each one alike on all ranks
_NOTHING = "-"


class Agreement:
    """One verdict per question, from rank 0, through the key-value store of the process group.

    No collective: rank 0 never waits for the others, and a rank that is ahead waits for rank 0's host, not its device.
    """

    def __init__(self, *, is_writer: bool, join_timeout_s: float = 60.0) -> None:
        self._is_writer = is_writer
        self._name = f"prober{next(_names)}"
        self._is_several = is_distributed()
        self.is_complete = not self._is_several or do_all_ranks_join(self._name, join_timeout_s)
        self._told: list[str] = []

    @property
    def is_needed(self) -> bool:
        return self._is_several

    def on(self, question: str, verdict: str | None) -> str | None:
        """Rank 0's verdict on what every rank asks about; what other ranks give is ignored.

        Raises:
            RuntimeError: rank 0 has gone.
        """
        if not self._is_several:
            return verdict
        store = dist.distributed_c10d._get_default_store()
        key = f"pretrain_monitor/{self._name}/{question}"
        if self._is_writer:
            store.set(key, verdict or _NOTHING)
            self._told.append(key)
            # The others may be a few steps behind, but not as many: they train together.
            if len(self._told) > 1000:
                store.delete_key(self._told.pop(0))
            return verdict
        found = store.get(key).decode()
        return None if found == _NOTHING else found
