"""Carries out orders with the hands of one adapter, on every rank at the same step, and has it recorded."""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from ..actions.decide import FAILED, PAUSE, REFUSED, RESUME
from ..actions.orders import DONE, Order
from ..actions.plan import EXIT_STATUS, plan_path, write_plan
from ..distributed import RanksLostError, do_all_agree, is_distributed
from ..monitor import Monitor
from .gather import StepGatherer
from .rate_factor import RateFactor
from .skipping import Skipping

logger = logging.getLogger(__name__)

RANKS_LOST = f"{FAILED}: not all ranks answer"


class ActionError(Exception):
    """An order cannot be carried out; the message is a line for the user."""


class Hands(Protocol):
    """What an adapter can do. Each raises ``ActionError`` where it cannot, before anything has changed.

    What is returned is recorded with the action.
    """

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        ...

    def facts_for_restart(self) -> Mapping[str, Any]:
        """What the next process cannot know by itself; JSON-ready."""
        ...

    def put_aside(self, step: int) -> None:
        """On the rank that may: move the checkpoints from after ``step`` to where nobody resumes from them."""
        ...

    def checkpoint(self, order: Order) -> Mapping[str, Any]: ...

    def stop(self, order: Order) -> Mapping[str, Any]: ...

    def lower_lr(self, order: Order) -> Mapping[str, Any]: ...

    def check_rewind(self, order: Order) -> None:
        """Whether ``load`` has a chance, before anything is touched; on this rank."""
        ...

    def load(self, order: Order) -> None:
        """Bring the training back to a checkpoint; may fail on one rank and not on another."""
        ...

    def settle_rewind(self, order: Order) -> None:
        """All ranks have loaded it. Recorded by the monitor itself, between what was before and what is after."""
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
        self._rewinds = 0
        self._is_writer = gather.is_writer
        self.skipping = Skipping(monitor, is_writer=gather.is_writer)

    def after_step(self, step: int) -> None:
        """A step was handed over, on every rank: do what has been ordered by now."""
        self._rate.advance(step)
        orders = [*self._gather.take_orders(self._rewinds), *self.skipping.settle(step)]
        goes_back = any(order.do == "rewind" for order in orders)
        if goes_back:
            self._gather.flush()  # what is under way belongs to the steps that are given up
        rewinds = self._rewinds  # one is enough
        for order in orders:
            if goes_back and order.do == "checkpoint":
                # One of the present step would be put aside at once.
                order = replace(order, details={**order.details, "save": False})
            if order.do != "rewind" or self._rewinds == rewinds:
                self._obey(order)

    def _obey(self, order: Order) -> None:
        if order.do in (PAUSE, RESUME):
            self.skipping.is_paused = order.do == PAUSE
            return
        outcome, details = self._carry_out(order)
        if order.do == "rewind" and outcome == DONE:
            return  # recorded between what was before and what is after
        if self._is_writer:
            self._monitor.record_action(order, outcome, details=details)
        if outcome == RANKS_LOST:
            return
        # Replicas of which one was loaded and another was not are no longer replicas.
        is_torn = is_distributed() and outcome.startswith(FAILED)
        if order.do == "rewind" and (is_torn or order.details.get("then") == "stop"):
            self._obey(replace(order, do="stop", details={"save": False, "exit_status": None}))

    def _rewind(self, order: Order) -> str:
        """The outcome, the same on every rank."""
        if self._is_writer:
            # Records from after the step gone back to are superseded, but the data they are about stays left out.
            lost = self._monitor.skipped_steps(self._hands.step) - self._monitor.skipped_steps(order.details["to_step"])
            order = replace(order, details={**order.details, "skipped_before": lost})
        if order.details.get("by_restart"):
            self._restart(order)
        problem = _problem_of(lambda: self._hands.check_rewind(order))
        if not do_all_agree(problem is None):
            raise ActionError(problem or "another rank cannot")
        problem = _problem_of(lambda: self._hands.load(order))
        # Also so that nobody writes or moves what another rank still reads.
        if do_all_agree(problem is None):
            self._hands.settle_rewind(order)
            self._rewinds += 1
            return DONE
        return f"{FAILED}: {problem or 'on another rank'}"

    def _restart(self, order: Order) -> None:
        """End this process, on every rank, with a plan for the next one.

        Raises:
            ActionError: nobody would start it anew.
            SystemExit: otherwise.
        """
        path = plan_path()
        # Of all ranks, for a launcher may keep its variables from other machines.
        if not do_all_agree(path is not None) or path is None:
            raise ActionError("nobody would start the job anew: start it with `pretrain-monitor run -- ...`")
        gone, to_step = self._hands.step, int(order.details["to_step"])
        skipped = max(gone - to_step, int(order.details["skip_steps"]))
        facts = {
            **order.details,
            **self._hands.facts_for_restart(),
            "from_step": gone,
            "skipped_steps": skipped,
            "planned_at": clock.time(),
        }
        problem = None
        if self._is_writer:
            problem = _problem_of(lambda: write_plan(path, replace(order, details=facts)))
        if not do_all_agree(problem is None):
            raise ActionError(f"{path}: the plan cannot be written")
        self._hands.put_aside(to_step)
        do_all_agree(True)  # so that a launcher does not end one rank in the midst of it, because another one is gone
        logger.warning("ending, to go on from the checkpoint of step %s in a new process", f"{to_step:,}")
        raise SystemExit(EXIT_STATUS)

    def _carry_out(self, order: Order) -> tuple[str, Mapping[str, Any]]:
        try:
            if order.do == "rewind":
                return self._rewind(order), {}
            details = getattr(self._hands, order.do)(order)
        except RanksLostError as error:
            # Not stopped here: that would hide it. The next collective of the training fails, as it would without us.
            logger.error("%s failed, for not all ranks answer (%s)", order.do, error)
            return RANKS_LOST, {}
        except ActionError as error:
            if self._is_writer:
                logger.error("%s is not done: %s", order.do, error)
            return f"{REFUSED}: {error}", {}
        except Exception as error:
            logger.exception("%s failed; training goes on", order.do)
            return f"{FAILED}: {type(error).__name__}", {}
        return DONE, details or {}


def _problem_of(work: Callable[[], None]) -> str | None:
    """What keeps this rank from it, in a line; None if it is done."""
    try:
        work()
    except ActionError as error:
        return str(error)
    except Exception as error:
        logger.exception("going back failed")
        return type(error).__name__
    return None
