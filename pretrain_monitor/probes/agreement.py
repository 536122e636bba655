"""What rank 0 decides about probes, told to the other ranks: all of them have to start a round together."""

from __future__ import annotations

import itertools

import torch.distributed as dist

from ..distributed import do_all_ranks_join, is_distributed

# Ranks come to a round together, give or take what one does for itself and the few steps that its host may be ahead of
# its device.
JOIN_TIMEOUT_S, _STEPS_AHEAD = 60.0, 4

_names = itertools.count()  # names each one alike on all ranks
_NOTHING = "-"


class NotAllThere(Exception):
    """Some ranks did not come to a round: one of them alone would wait in it for ever."""


class Agreement:
    """One verdict per question, from rank 0, through the key-value store of the process group.

    No collective: rank 0 never waits for the others unless there is something to do together, and a rank that is ahead
    waits for rank 0's host, not its device.
    """

    def __init__(self, *, is_writer: bool) -> None:
        self._is_writer = is_writer
        self._name = f"prober{next(_names)}"
        self.is_needed = is_distributed()
        self.is_complete = not self.is_needed or do_all_ranks_join(self._name, JOIN_TIMEOUT_S)
        self._told: list[str] = []
        self._asked, self._times = "", 0  # the last question, and how often in a row before

    def on(self, question: str, verdict: str | None, *, step_s: float = 0.0) -> str | None:
        """Rank 0's verdict on what every rank asks about, once all are there; what other ranks give is ignored.

        Args:
            step_s: seconds that a training step takes.

        Raises:
            NotAllThere: there is something to do, but not every rank has asked.
            RuntimeError: rank 0 has gone.
        """
        if not self.is_needed:
            return verdict
        store = dist.distributed_c10d._get_default_store()
        # A step may save two checkpoints, and what was told of the first is still in the store.
        self._asked, self._times = question, self._times + 1 if question == self._asked else 0
        place = f"{self._name}/{question}" + (f" again {self._times}" if self._times else "")
        key = f"pretrain_monitor/{place}"
        if self._is_writer:
            store.set(key, verdict or _NOTHING)
            self._told.append(key)
            # The others may be a few steps behind, but not as many: they train together.
            if len(self._told) > 1000:
                store.delete_key(self._told.pop(0))
            found = verdict or _NOTHING
        else:
            found = store.get(key).decode()
        if found == _NOTHING:
            return None
        if not do_all_ranks_join(place, max(JOIN_TIMEOUT_S, _STEPS_AHEAD * step_s)):
            raise NotAllThere
        return found
