"""Actions in a loop of the user's own: with the functions that he gives to save and to load."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..actions.checkpoints import keep, newest_before
from ..actions.decide import Good
from ..actions.orders import DONE, ActionRecord, Order, left_out
from ..actions.plan import drop_plan, plan_path, read_plan
from ..config import ConfigError
from ..distributed import from_main_rank
from ..monitor import Monitor
from .acting import Acting, ActionError
from .gather import Scalar, StepGatherer
from .rate_factor import RateFactor

logger = logging.getLogger(__name__)

Save = Callable[[int], Any]
Load = Callable[[str], Any]


class LoopActions:
    """Between the calls of one loop and what is to be done; also the hands that do it.

    Args:
        save: makes a checkpoint of the given step and returns its path; on every rank.
        load: brings model, optimizer and scheduler back to the checkpoint at a path; on every rank.
        went_back: told of a rewind.
    """

    def __init__(
        self, monitor: Monitor, gather: StepGatherer, save: Save | None, load: Load | None,
        went_back: Callable[[Order, int], None],
    ) -> None:  # fmt: skip
        self._monitor = monitor
        self._gather = gather
        self._save, self._load = save, load
        self._went_back = went_back
        self._rate = RateFactor()
        self._saved: list[Good] = []
        self._optimizers: Sequence[Any] = ()
        self._step = 0
        self.has_any = bool(monitor.config.actions)
        self.should_stop = False
        self.exit_status: int | None = None
        self.steps_to_skip = 0
        self._was_told_to_skip = False
        self._acting = Acting(monitor, gather, self, self._rate)
        self._plan: Order | None = None  # of the process before this one

    def obey_plan(self, step: int) -> int:
        """Load what the process before this one could not go back to; the step to begin after.

        Raises:
            ConfigError: there is no function to load with.
        """
        self._plan = read_plan() if self.has_any else None
        if self._plan is None:
            return step
        path = str(self._plan.details["checkpoint"])
        if self._load is None:
            raise ConfigError(f"to go on from {path} takes LoopMonitor(..., load=...), a function that loads a path")
        self._load(path)
        to_step = int(self._plan.details["to_step"])
        for known in (*self._plan.details.get("known", ()), [to_step, path]):
            if known[0] <= to_step:
                self.saved(*known)
        return to_step

    def begin(self, step: int) -> None:
        self._step = step
        if not self.has_any:
            return
        if step or self._plan is not None:
            self._take_up(step)
        if self._monitor.decider is not None:
            self._monitor.decider.checkpoint_before = lambda step: newest_before(self._existing(), step)
        wanted = {action.do for action in self._monitor.config.actions}
        by_restart = any(getattr(action, "by_restart", False) for action in self._monitor.config.actions)
        if self._gather.is_writer and by_restart and plan_path() is None:
            logger.error("rewind: by_restart needs somebody who starts the job anew: `pretrain-monitor run -- ...`")
        if self._gather.is_writer and "rewind" in wanted and self._load is None:
            logger.error(
                "rewind: there is no way back without LoopMonitor(..., load=...), a function that loads a path"
            )

    def saved(self, step: int, path: Any) -> None:
        """There is a checkpoint of ``step``."""
        if self.has_any and path is not None:
            # One that is written over is of its newest step only.
            self._saved = [*(one for one in self._saved if one.path != str(path)), Good(step, str(path))]

    def used_rate(self, rate: Scalar) -> Scalar:
        result: Scalar = self._rate.of(rate)
        return result

    def should_skip(self, norm: Any, *, has_scaler: bool) -> bool:
        return self._acting.skipping.decides(norm, self._step + 1, has_scaler=has_scaler)

    def meta(self) -> dict[str, Any] | None:
        return self._acting.skipping.meta() or None

    def guard(self, optimizer: Any, norm: Any, *, has_scaler: bool) -> None:
        self._acting.skipping.guard(optimizer, norm, self._step + 1, has_scaler=has_scaler)

    def metrics(self, given: Mapping[str, Scalar] | None) -> Mapping[str, Scalar] | None:
        own = self._acting.skipping.metrics()
        return given if not own else {**(given or {}), **own}

    def after_step(self, step: int, optimizer: Any) -> None:
        """A step was handed over, on every rank: do what has been ordered by now."""
        if not self.has_any:
            return
        if self.steps_to_skip and not self._was_told_to_skip:
            self._was_told_to_skip = True
            logger.warning(
                "step %d was made without leaving out data of %d steps: ask take_steps_to_skip() before each step",
                step,
                self.steps_to_skip,
            )
        self._step = step
        if self._plan is not None:
            # Not before a step that all ranks have made: one that comes later has to find it.
            self._plan = None
            if self._gather.is_writer:
                drop_plan()
        if optimizer is not None:
            self._optimizers = optimizer if isinstance(optimizer, list | tuple) else (optimizer,)
        self._acting.after_step(step)

    def close(self) -> None:
        self._rate.detach()
        self._acting.skipping.close()

    @property
    def step(self) -> int:
        return self._step

    def facts_for_restart(self) -> Mapping[str, Any]:
        return {"known": [[one.step, one.path] for one in self._existing()]}

    def put_aside(self, step: int) -> None:
        # The files of later ones are the user's: what he resumes from is his business.
        self._saved = [one for one in self._saved if one.step <= step]

    def checkpoint(self, order: Order) -> Mapping[str, Any]:
        details: dict[str, Any] = {}
        parts = []
        kept = order.details.get("checkpoint") if order.details["keep"] else None
        if kept is not None and self._gather.is_writer:
            try:
                details["kept"] = str(keep(Path(kept), int(order.details["to_step"])))
                self.saved(int(order.details["to_step"]), details["kept"])
                parts.append(f"the one of step {order.details['to_step']:,}")
            except OSError as error:
                details["not_kept"] = f"{kept}: {error.strerror}"
        if order.details["save"]:
            if self._save is None:
                raise ActionError("there is no LoopMonitor(..., save=...), a function that saves a step")
            details["path"] = str(self._save(self._step))
            self.saved(self._step, details["path"])
            parts.insert(0, f"a checkpoint of step {self._step:,}")
        return {**details, "saved": " and ".join(parts) or "nothing"}

    def stop(self, order: Order) -> Mapping[str, Any]:
        self.should_stop = True
        self.exit_status = order.details["exit_status"]
        if order.details["save"] and self._save is not None:
            return {"path": str(self._save(self._step))}
        return {}

    def lower_lr(self, order: Order) -> Mapping[str, Any]:
        if not self._optimizers:
            raise ActionError("no optimizer is known: monitor.step(..., optimizer=optimizer)")
        details = order.details
        value = self._rate.lower(
            self._optimizers,
            details["factor"],
            step=self._step,
            hold_steps=details["hold_steps"],
            ramp_steps=details["ramp_steps"],
        )
        return {"factor": value}

    def check_rewind(self, order: Order) -> None:
        if self._load is None:
            raise ActionError("there is no LoopMonitor(..., load=...), a function that loads a path")
        if not Path(order.details["checkpoint"]).exists():
            raise ActionError(f"{order.details['checkpoint']}: no such checkpoint")

    def load(self, order: Order) -> None:
        if self._load is not None:
            self._load(order.details["checkpoint"])

    def settle_rewind(self, order: Order) -> None:
        gone, to_step = self._step, int(order.details["to_step"])
        self._step = to_step
        self.put_aside(to_step)
        more = max(0, int(order.details["skip_steps"]) - (gone - to_step))
        self.steps_to_skip += more
        self._rate.rewound(to_step, self._optimizers)
        factor = order.details.get("lr_factor")
        if factor is not None and self._optimizers:
            self._rate.lower(self._optimizers, factor, step=to_step, ramp_steps=order.details["ramp_steps"])
        self._acting.skipping.rewound(to_step)
        facts = {"from_step": gone, "skipped_steps": gone - to_step + more}
        told = Order(order.do, order.step, order.reason, order.incident, {**order.details, **facts})
        self._went_back(told, to_step)

    def _take_up(self, step: int) -> None:
        """What was done in earlier sessions, the last of which may have left a plan."""
        past, plan = self._monitor.past_actions(step), self._plan
        if plan is not None and all(one.details.get("planned_at") != plan.details.get("planned_at") for one in past):
            if self._gather.is_writer:
                self._monitor.record_plan(plan)
            # Of another rank, which may read the log before that was written.
            past.append(ActionRecord(step, 0.0, plan.do, DONE, plan.reason, plan.incident, plan.details))
        # A loop that goes on where step k ended finds its place by k, but more than k steps' worth was gone.
        numbers = [float(left_out(past)), *self._rate.restore(past, step)]
        skipped, *lowered = from_main_rank(numbers)
        self.steps_to_skip = int(skipped)
        # There may be no optimizer yet.
        self._rate.take_up(None, lowered)

    def _existing(self) -> list[Good]:
        return [one for one in self._saved if Path(one.path).exists()]
