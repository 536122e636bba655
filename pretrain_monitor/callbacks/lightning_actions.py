"""Actions in a Lightning Trainer: everything that a callback has to call, and nothing at all without any."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ..actions.orders import Order, left_out
from ..actions.plan import drop_plan, plan_path, read_plan
from ..actions.settings import Rewind
from ..distributed import from_main_rank
from ..monitor import Monitor
from .acting import Acting
from .gather import Scalar, StepGatherer
from .lightning_hands import LightningHands, SavedCheckpoints, hinders_loading
from .rate_factor import RateFactor

logger = logging.getLogger(__name__)


class LightningActions:
    """Between the hooks of one callback and what is to be done."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._has_any = bool(monitor.config.actions)
        self._rate = RateFactor()
        self._saved = SavedCheckpoints()
        self._hands: LightningHands | None = None
        self._acting: Acting | None = None
        self._plan: Order | None = None  # of the process before this one
        self._step = 0  # completed

    def obey_plan(self, trainer: Trainer) -> None:
        """Before the trainer loads anything: have it resume from where the process before could not go back to."""
        self._plan = read_plan() if self._has_any else None
        if self._plan is None:
            return
        connector, path = trainer._checkpoint_connector, str(self._plan.details["checkpoint"])
        inner = connector.resume_start

        def resume_start(checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
            vars(connector).pop("resume_start", None)
            inner(path, weights_only=False)

        connector.resume_start = resume_start

    def begin(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        gather: StepGatherer,
        went_back: Callable[[Order, int], None],
        *,
        sees_norm: bool,
    ) -> None:
        """
        Args:
            went_back: told of a rewind.
        """
        if not self._has_any:
            return
        self._step = trainer.global_step
        self._saved.attach(trainer)

        def leave(order: Order, step: int) -> None:
            self._step = step
            if self._acting is not None:
                self._acting.skipping.rewound(step)
            went_back(order, step)

        self._hands = LightningHands(trainer, pl_module, self._saved, self._rate, leave)
        self._acting = Acting(self._monitor, gather, self._hands, self._rate)
        if self._monitor.decider is not None:
            self._monitor.decider.checkpoint_before = self._saved.before
        if self._acting.skipping.is_on and not sees_norm:
            name = type(trainer.strategy).__name__
            logger.error("skip_step: %s hides the gradient norm, so no update can be left out", name)
        if gather.is_writer:
            self._say_what_cannot_be(trainer)
        if self._step:
            self._take_up(trainer, gather)

    def _take_up(self, trainer: Trainer, gather: StepGatherer) -> None:
        """What was done in earlier sessions, the last of which may have left a plan."""
        plan, self._plan = self._plan, None
        if plan is not None and plan.details["to_step"] == self._step and gather.is_writer:
            self._monitor.record_plan(plan)
            drop_plan()
        records = self._monitor.past_actions(self._step) if gather.is_writer else []
        # A checkpoint knows of what was left out before it was saved, but not of what was after going back to it.
        here = [record for record in records if record.step == self._step]
        skipped, *lowered = from_main_rank([float(left_out(here)), *self._rate.restore(records, self._step)])
        self._rate.take_up(trainer.optimizers, lowered)
        if skipped and self._hands is not None:
            self._hands.resume_data(int(skipped))

    def used_rate(self, rate: Scalar) -> Scalar:
        """What a rate of the schedule is lowered to."""
        result: Scalar = self._rate.of(rate)
        return result

    def guard(self, optimizer: Any, norm: Any, *, has_scaler: bool) -> None:
        """The norm of an optimizer's gradients is known, and it has not stepped yet."""
        if self._acting is not None:
            self._acting.skipping.guard(optimizer, norm, self._step + 1, has_scaler=has_scaler)

    def meta(self) -> dict[str, Any]:
        return {} if self._acting is None else self._acting.skipping.meta()

    def metrics(self) -> dict[str, Scalar]:
        return {} if self._acting is None else {**self._acting.skipping.metrics()}

    def after_step(self, step: int) -> None:
        """A step was handed over, on every rank: do what has been ordered by now."""
        self._step = step
        if self._acting is not None:
            self._acting.after_step(step)

    def close(self, trainer: Trainer | None = None) -> None:
        """
        Args:
            trainer: that has ended as it should, and is to end the process if that was ordered.
        """
        self._rate.detach()
        if self._acting is not None:
            self._acting.skipping.close()
        self._saved.detach()
        status = None if self._hands is None else self._hands.exit_status
        self._hands = self._acting = None
        if status is not None and trainer is not None:
            _end_process_after(trainer, status)

    def _say_what_cannot_be(self, trainer: Trainer) -> None:
        wanted = {action.do for action in self._monitor.config.actions}
        if "rewind" not in wanted:
            return
        rewinds = [action for action in self._monitor.config.actions if isinstance(action, Rewind)]
        if any(rewind.by_restart for rewind in rewinds) and plan_path() is None:
            logger.error("rewind: by_restart needs somebody who starts the job anew: `pretrain-monitor run -- ...`")
        if not all(rewind.by_restart for rewind in rewinds) and (name := hinders_loading(trainer)):
            logger.error(
                "rewind: under %s nobody can load a checkpoint while the training goes on: by_restart=True starts the "
                "job anew",
                name,
            )
        savers = [one for one in trainer.checkpoint_callbacks if not getattr(one, "save_weights_only", False)]
        if not savers and not self._saved.found():
            logger.error(
                "rewind: no ModelCheckpoint saves more than weights, so there is nothing to go back to, unless "
                "the program saves one: add ModelCheckpoint(every_n_train_steps=...)"
            )


def _end_process_after(trainer: Trainer, status: int) -> None:
    """Have ``fit`` end in SystemExit once everybody else has been told that it is over."""
    # What the trainer does last, when all hooks and loggers have been told.
    profiler = trainer.profiler
    inner = profiler.describe

    def describe() -> None:
        vars(profiler).pop("describe", None)
        inner()
        raise SystemExit(status)

    profiler.describe = describe
