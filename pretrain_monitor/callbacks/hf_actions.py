"""Actions in a Hugging Face Trainer: everything that a callback has to call, and nothing at all without any."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..actions.decide import PAUSE, REFUSED, RESUME
from ..actions.orders import Order
from ..actions.plan import drop_plan, plan_path, read_plan
from ..actions.settings import Rewind
from ..distributed import from_main_rank
from ..monitor import Monitor
from .acting import Acting
from .gather import Scalar, StepGatherer
from .hf_hands import CANNOT_LOAD, TrainerHands, checkpoint_before, found_checkpoints, hinders_loading
from .hf_taps import TrainerTap
from .rate_factor import RateFactor

logger = logging.getLogger(__name__)

_NOT_ATTACHED = "the callback is not attached: MonitorCallback(...).attach(trainer)"


class TrainerActions:
    """Between the hooks of one callback and what is to be done."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._has_any = bool(monitor.config.actions)
        self._rate = RateFactor()
        self._gather: StepGatherer | None = None
        self._tap: TrainerTap | None = None
        self._hands: TrainerHands | None = None
        self._acting: Acting | None = None
        self._plan: Order | None = None  # of the process before this one
        self._can_skip = True

    @property
    def exit_status(self) -> int | None:
        """What the process is to end with, once the training has ended."""
        return None if self._hands is None else self._hands.exit_status

    def begin(
        self, tap: TrainerTap | None, gather: StepGatherer, control: Any, went_back: Callable[[Order, int], None]
    ) -> None:
        """
        Args:
            tap: on the trainer; None where the callback is not attached.
            went_back: told of a rewind.
        """
        if not self._has_any:
            return
        self._gather, self._tap = gather, tap
        if tap is None:
            if gather.is_writer:
                logger.error("actions are only told of, not carried out: %s", _NOT_ATTACHED)
            return
        trainer = tap.trainer
        # Its engine steps in the backward pass, before anybody is asked.
        self._can_skip = not trainer.is_deepspeed_enabled

        def leave(order: Order, step: int) -> None:
            assert self._hands is not None
            tap.data.went_back(self._hands.skip_steps)
            if self._acting is not None:
                self._acting.skipping.rewound(step)
            went_back(order, step)

        self._hands = TrainerHands(trainer, control, self._rate, leave)
        self._acting = Acting(self._monitor, gather, self._hands, self._rate)
        if self._monitor.decider is not None:
            self._monitor.decider.checkpoint_before = lambda step: checkpoint_before(trainer, step)
        if gather.is_writer:
            self._say_what_cannot_be(trainer)
        self._take_up(trainer)

    def _take_up(self, trainer: Any) -> None:
        """Where the process before this one left off: with its plan, and past data that was left out."""
        assert self._gather is not None and self._tap is not None
        self._tap.data.begin(0)
        step, plan = trainer.state.global_step, self._plan
        self._plan = None
        if plan is not None and plan.details["to_step"] == step and self._gather.is_writer:
            self._monitor.record_plan(plan)
            drop_plan()
        if not step:
            return
        lowered = self._rate.restore(self._monitor.past_actions(step) if self._gather.is_writer else (), step)
        skipped = self._monitor.skipped_steps(step) if self._gather.is_writer else 0
        skipped_steps, *lowered = from_main_rank([float(skipped), *lowered])
        self._rate.take_up([trainer.optimizer], lowered)
        if not trainer.args.ignore_data_skip:
            # The trainer reads past as much data as steps were made, but more of it was gone.
            self._tap.data.steps = int(skipped_steps)

    def checkpoint_of_plan(self) -> str | None:
        """What a training that begins now is to resume from, because the one before could not go back."""
        self._plan = read_plan() if self._has_any else None
        return None if self._plan is None else str(self._plan.details["checkpoint"])

    def used_rate(self, rate: Scalar) -> Scalar:
        """What a rate of the schedule is lowered to."""
        result: Scalar = self._rate.of(rate)
        return result

    def guard(self, optimizer: Any, norm: Any, step: int) -> None:
        """Before the optimizer steps."""
        if self._acting is not None and self._can_skip:
            has_scaler = getattr(optimizer, "scaler", None) is not None
            self._acting.skipping.guard(optimizer, norm, step, has_scaler=has_scaler)

    def meta(self) -> dict[str, Any] | None:
        return None if self._acting is None else self._acting.skipping.meta() or None

    def metrics(self) -> dict[str, Scalar]:
        return {} if self._acting is None else {**self._acting.skipping.metrics()}

    def after_step(self, step: int) -> None:
        """A step was handed over, on every rank: do what has been ordered by now."""
        if self._acting is not None:
            self._acting.after_step(step)
        elif self._gather is not None:
            for order in self._gather.take_orders():
                if self._gather.is_writer and order.do not in (PAUSE, RESUME):
                    self._monitor.record_action(order, f"{REFUSED}: {_NOT_ATTACHED}")

    def end_pass(self, state: Any, control: Any) -> None:
        """The trainer stops at a pass over the data without a single batch; one that was left out is none."""
        if self._acting is not None and self._tap is not None and self._tap.data.took_whole_pass:
            control.should_training_stop = state.global_step >= state.max_steps

    def close(self) -> None:
        self._rate.detach()
        if self._acting is not None:
            self._acting.skipping.close()
        self._gather = self._acting = None

    def _say_what_cannot_be(self, trainer: Any) -> None:
        wanted = {action.do for action in self._monitor.config.actions}
        if "rewind" in wanted and str(trainer.args.save_strategy.value) == "no" and not found_checkpoints(trainer):
            logger.error(
                "rewind: save_strategy is 'no', so there will be no checkpoint to go back to: save every so many steps"
            )
        if "skip_step" in wanted and not self._can_skip:
            logger.error("skip_step: DeepSpeed steps in the backward pass, so no update can be left out")
        rewinds = [action for action in self._monitor.config.actions if isinstance(action, Rewind)]
        if any(rewind.by_restart for rewind in rewinds) and plan_path() is None:
            logger.error("rewind: by_restart needs somebody who starts the job anew: `pretrain-monitor run -- ...`")
        if any(rewind.by_restart for rewind in rewinds) and trainer.args.ignore_data_skip:
            logger.error(
                "rewind: with ignore_data_skip the new process reads its data from the beginning, so none of it can "
                "be left out"
            )
        if not all(rewind.by_restart for rewind in rewinds) and hinders_loading(trainer):
            logger.error(f"rewind: {CANNOT_LOAD}: by_restart=True starts the job anew")
        if "rewind" in wanted and trainer.args.save_only_model:
            logger.error("rewind: save_only_model leaves out the optimizer, so nothing can go back to its checkpoints")
