"""Orders of rank 0, known to all ranks at the same step."""

from __future__ import annotations

import itertools
from collections import deque

import torch.distributed as dist
from torch import Tensor

from ..actions.decide import PAUSE, RESUME
from ..actions.orders import Order
from ..readback import LateReadback

# Steps that a number from a device is left to come to the host. All ranks look at the same one, whenever theirs comes.
_LAG = 4

_channels = itertools.count()  # names each one alike on all ranks


class OrderChannel:
    """How many orders there are travels in the sum over ranks that each step makes anyway; what they say in the store.

    Every rank calls ``see`` for every sum, in the same order.
    """

    def __init__(self) -> None:
        self._name = f"pretrain_monitor/orders{next(_channels)}"
        self.issued = 0  # by this rank; only rank 0 issues any
        self._known = 0
        self._taken = 0
        self._ring = LateReadback()
        self._arrived: deque[list[float]] = deque()
        self._pending = 0

    def issue(self, orders: list[Order], rewinds: int) -> None:
        store = dist.distributed_c10d._get_default_store()
        for order in orders:
            store.set(self._key(self.issued), f"{rewinds} {order.to_text()}")
            self.issued += 1

    def see(self, count: Tensor) -> None:
        """
        Args:
            count: of orders, as all ranks have added it up; one element.
        """
        if count.is_cpu:
            self._known = int(count.item())
            return
        # Read some steps late, when it is sure to be there: nobody waits for the device, and no rank is earlier.
        self._pending += 1
        self._arrived.extend(values for _, values in self._ring.push(None, count.reshape(1)))
        if self._pending > _LAG:
            while not self._arrived:
                self._arrived.extend(values for _, values in self._ring.drain(wait_for=1))
            self._pending -= 1
            self._known = int(self._arrived.popleft()[0])

    def take(self, rewinds: int) -> list[Order]:
        """What every rank is to do now; what was ordered before the last of so many rewinds is left out."""
        orders = []
        store = dist.distributed_c10d._get_default_store() if self._taken < self._known else None
        while store is not None and self._taken < self._known:
            rewinds_then, _, text = store.get(self._key(self._taken)).decode().partition(" ")
            self._taken += 1
            order = Order.from_text(text)
            if int(rewinds_then) == rewinds or order.do in (PAUSE, RESUME):
                orders.append(order)
        return orders

    def _key(self, number: int) -> str:
        return f"{self._name}/{number}"
