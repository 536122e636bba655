"""Carries out orders with the hands of one adapter, on every rank at the same step, and has it recorded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from ..actions.decide import PAUSE, REFUSED, RESUME
from ..actions.orders import DONE, Order
from ..distributed import do_all_agree
from ..monitor import Monitor
from .gather import StepGatherer
from .rate_factor import RateFactor
from .skipping import Skipping

logger = logging.getLogger(__name__)


class ActionError(Exception):
    """An order cannot be carried out; the message is a line for the user."""


class Hands(Protocol):
    """What an adapter can do. Each raises ``ActionError`` where it cannot, before anything has changed.

    What is returned is recorded with the action.
    """

    def checkpoint(self, order: Order) -> Mapping[str, Any]: ...

    def stop(self, order: Order) -> Mapping[str, Any]: ...

    def lower_lr(self, order: Order) -> Mapping[str, Any]: ...

    def rewind(self, order: Order) -> None:
        """Told and recorded by the monitor itself, between what it was before and what it is after."""
        ...


class Acting:
    """Does what the monitor orders. No method raises.

    Args:
        gather: hands steps over, and orders back.
        rate: what the learning rate is multiplied by.
    """

    def __init__(self, monitor: Monitor, gather: StepGatherer, hands: Hands, rate: RateFactor) -> None:
        self._monitor = monitor
        self._gather = gather
        self._hands = hands
        self._rate = rate
        self._is_writer = gather.is_writer
        self.skipping = Skipping(monitor, is_writer=gather.is_writer)

    def after_step(self, step: int) -> None:
        """A step was handed over, on every rank: do what has been ordered by now."""
        self._rate.advance(step)
        orders = [*self._gather.take_orders(), *self.skipping.settle(step)]
        if any(order.do == "rewind" for order in orders):
            self._gather.flush()  # what is under way belongs to the steps that are given up
        for order in orders:
            self._obey(order)

    def _obey(self, order: Order) -> None:
        if order.do in (PAUSE, RESUME):
            self.skipping.is_paused = order.do == PAUSE
            return
        outcome, details = self._carry_out(order)
        if self._is_writer and not (order.do == "rewind" and outcome == DONE):
            self._monitor.record_action(order, outcome, details=details)

    def _carry_out(self, order: Order) -> tuple[str, Mapping[str, Any]]:
        try:
            details = getattr(self._hands, order.do)(order)
        except ActionError as error:
            if self._is_writer:
                logger.error("%s is not done: %s", order.do, error)
            return f"{REFUSED}: {error}", {}
        except Exception as error:
            logger.exception("%s failed; training goes on", order.do)
            return f"failed: {type(error).__name__}", {}
        return DONE, details or {}


def check_on_all_ranks(is_possible: bool, problem: str) -> None:
    """
    Raises:
        ActionError: it is not possible on some rank, so no rank may begin.
    """
    if not do_all_agree(is_possible):
        raise ActionError(problem if not is_possible else f"on another rank: {problem}")
