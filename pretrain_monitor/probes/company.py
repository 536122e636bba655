"""Keep ranks together in the forward passes of a model that FSDP2 has spread over them, even when one rank fails."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

from torch import nn

# In what order a model's parts are computed, as their numbers among its modules. Memory mostly ends in the first batch,
# so this has to be known before it.
_orders: weakref.WeakKeyDictionary[nn.Module, list[int]] = weakref.WeakKeyDictionary()


class Company:
    """The parts of a model whose weights all ranks have to gather together, each time they compute one of them.

    A rank whose forward pass breaks off half-way, as when its memory ends, leaves the others waiting for it in the next
    part. It can still gather the weights of the parts that it does not compute.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parts = [module for module in model.modules() if is_fsdp2(module)]
        self._seen: list[nn.Module] = []  # parts begun in the present forward pass

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Inside, forward passes are watched; afterwards the weights are spread over the ranks again."""
        # Behind FSDP's own hook: a part counts as begun when its weights are there.
        hooks = [part.register_forward_pre_hook(self._begin) for part in self._parts]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            # A root keeps its weights together for a backward pass, which will not come.
            self._spread()

    @property
    def knows_order(self) -> bool:
        return self._model in _orders

    def remember_order(self) -> None:
        """On all ranks, once all have made a forward pass to its end: it need not be made for this again."""
        _orders[self._model] = [self._parts.index(part) for part in self._seen]

    def start(self) -> None:
        """A forward pass begins."""
        self._seen.clear()

    def catch_up(self) -> None:
        """The forward pass has failed on this rank: gather what the others gather in the rest of theirs."""
        # Where nobody has seen the order yet it is most likely the one in which the parts were made.
        order = _orders.get(self._model, range(len(self._parts)))
        rest = [self._parts[number] for number in order[len(self._seen) :]]
        for place, part in enumerate(rest):
            part.unshard()  # type: ignore[operator]
            # Parts that were sharded together have one set of weights, and keep it until the last of them is done.
            if not any(_are_one(part, other) for other in rest[place + 1 :]):
                part.reshard()  # type: ignore[operator]

    def forget(self) -> None:
        """As if there had been no forward pass; what FSDP keeps of a broken one differs from rank to rank.

        Every rank has to do so, also one whose own forward passes went well. Before torch 2.13 not all can be undone.
        """
        for part in self._parts:
            if hasattr(part, "reset_iter_state") and _is_root(part):
                part.reset_iter_state()  # type: ignore[operator]
        self._spread()

    def _spread(self) -> None:
        for part in self._parts:
            part.reshard()  # type: ignore[operator]

    def _begin(self, part: nn.Module, inputs: Any) -> None:
        self._seen.append(part)


def is_fsdp2(module: nn.Module) -> bool:
    return hasattr(module, "reshard") and hasattr(module, "unshard")


def _are_one(part: Any, other: Any) -> bool:
    return part is not other and part._get_fsdp_state() is other._get_fsdp_state()


def _is_root(part: Any) -> bool:
    return bool(part._get_fsdp_state()._is_root)
