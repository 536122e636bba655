"""Where ranks meet during a probe: each says whether it can go on, and all hear the same answer.

A rank that gives up on a probe must not go on to the training while another still waits for it inside the probe: its
next collective would be taken for the one that is waited for. So every meeting says which place of the probe it is at,
and ranks that find each other at different places know that some of them have left.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist

from ..distributed import collective_device

# Places. Before the rows are read it is START or more, depending on what the rows are.
END, FORWARD, AFTER, SUM, START = 0.0, 0.25, 0.5, 0.75, 2.0

_meetings = 0  # so far; ranks that have lost each other count on from the same number


class OutOfStep(Exception):
    """Other ranks are at another place of the probe, or have left it; what happened, in a line.

    No ``ValueError``: nothing between here and the runner may take it for a probe that merely cannot measure.

    Args:
        first: the earliest place of any rank, END being the earliest of all.
    """

    def __init__(self, what: str, first: float) -> None:
        super().__init__(what)
        self.first = first


class ElsewhereError(Exception):
    """Something keeps a probe from going on, on a rank that says itself what it is."""


class Largest(NamedTuple):
    """
    Args:
        value: the largest of any rank.
        first, last: the first and the last of the places where they are.
        number: of this meeting.
    """

    value: float
    first: float
    last: float
    number: int


def meet(place: float, problem: str | None = None) -> str | None:
    """What keeps any rank from going on, in the words of the first such rank; None if nothing does.

    Raises:
        OutOfStep: not all ranks are at this place.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    # The first rank with a problem gives the largest value.
    found = largest(place, 0.0 if problem is None else float(ranks - rank))
    words = _said_by(ranks - int(found.value), found.number, problem) if found.value else None
    if found.first != found.last:
        raise OutOfStep(words or "the ranks do not do the same in it", found.first)
    return words


def largest(place: float, value: float) -> Largest:
    """One small collective."""
    global _meetings
    # The default dtype may be one in which different places look alike.
    vector = torch.tensor([value, place, -place, _meetings], dtype=torch.float64, device=collective_device())
    dist.all_reduce(vector, op=dist.ReduceOp.MAX)
    most, last, first, number = vector.tolist()
    _meetings = int(number) + 1
    return Largest(most, -first, last, int(number))


def _said_by(first: int, number: int, problem: str | None) -> str:
    store = dist.distributed_c10d._get_default_store()
    key = f"pretrain_monitor/problem{number}"
    if dist.get_rank() == first and problem is not None:
        store.set(key, problem)
    text: str = store.get(key).decode()
    return text if first == 0 or text.startswith("on rank ") else f"on rank {first}: {text}"
