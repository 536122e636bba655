"""Leaves out updates that would do harm: asks the gate, takes the gradients away, and has it recorded."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ..actions.decide import DRY_RUN, OVER_BUDGET, PAUSED
from ..actions.orders import DONE, Order
from ..actions.settings import SkipStep
from ..monitor import Monitor
from ..telemetry import UPDATE_LEFT_OUT
from .device_gate import DeviceGate, FoundInf
from .rate_factor import innermost, without_gradients
from .step_gate import StepGate

logger = logging.getLogger(__name__)


class Skipping:
    """The same on every rank, for it is decided from what all ranks have in common.

    Args:
        is_writer: whether this is the rank that records.
    """

    def __init__(self, monitor: Monitor, *, is_writer: bool) -> None:
        settings = [action for action in monitor.config.actions if isinstance(action, SkipStep)]
        self._gate = StepGate(settings[0] if settings else None)
        self._monitor = monitor
        self._is_writer = is_writer
        is_on_device = bool(settings) and settings[0].on_device
        self._device_gate = DeviceGate(settings[0].extreme_sd) if is_on_device else None
        self._found_inf = FoundInf()
        self._flag: Tensor | None = None  # whether the present update was left out, where the device decides
        self._outcome: str | None = None  # of the present step; None if nothing was the matter
        self._reason = ""
        self._told = ""
        self.is_paused = False

    @property
    def is_on(self) -> bool:
        return self._gate.is_on

    def decides(self, norm: Any, step: int, *, has_scaler: bool) -> bool:
        """Before an optimizer steps: whether the update is to be left out.

        Args:
            norm: of all gradients before clipping, unscaled.
            step: whose update it is.
            has_scaler: a gradient scaler leaves out by itself what is not finite, and has to see it.
        """
        if not self._gate.is_on or norm is None:
            return False
        reason = self._gate.reason_to_skip(norm, may_be_infinite=has_scaler)
        if reason is None:
            return False
        self._reason = reason
        self._outcome = self._what_to_do(step)
        return self._outcome == DONE

    def guard(self, optimizer: Any, norm: Any, step: int, *, has_scaler: bool) -> None:
        """The same, and let the next step of the optimizer do nothing."""
        if self._device_gate is not None and isinstance(norm, Tensor):
            if not has_scaler and self._found_inf.is_understood_by(optimizer):
                self._flag = self._device_gate.decide(norm)
                if not (self.is_paused or self._monitor.config.dry_run):
                    self._found_inf.tell(optimizer, self._flag)
                return
            self._device_gate = None
            logger.warning("skip_step: on_device needs a fused optimizer and no gradient scaler; the host decides")
        if self.decides(norm, step, has_scaler=has_scaler):
            without_gradients(innermost(optimizer))

    def meta(self) -> dict[str, Any]:
        """What the sample of the present step says of it."""
        return {UPDATE_LEFT_OUT: self._reason} if self._outcome == DONE else {}

    def metrics(self) -> dict[str, Tensor]:
        """What is known of the present step on the device only, to be sent with its sample."""
        flag, self._flag = self._flag, None
        return {} if flag is None or self.is_paused else {UPDATE_LEFT_OUT: flag}

    def close(self) -> None:
        self._found_inf.close()

    def settle(self, step: int) -> list[Order]:
        """After the sample of the step was handed over: record; what else is to be done, by every rank."""
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return []
        order = Order("skip_step", step, self._reason, details={"step": step})
        # A model that is lost would be told of at every step.
        is_news = outcome == DONE or outcome != self._told
        self._told = outcome
        if self._is_writer and is_news:
            self._monitor.record_action(order, outcome)
        settings = self._gate.settings
        if settings is None or not outcome.startswith(OVER_BUDGET) or settings.then != "stop":
            return []
        return [Order("stop", step, self._reason, details={"save": False, "exit_status": None})]

    def rewound(self, step: int) -> None:
        self._gate.rewound(step)
        self._outcome = None

    def _what_to_do(self, step: int) -> str:
        settings = self._gate.settings
        assert settings is not None
        if self._monitor.config.dry_run:
            return DRY_RUN
        if self.is_paused:
            return PAUSED
        if self._gate.may_skip(step):
            return DONE
        return f"{OVER_BUDGET}: {settings.at_most} in {settings.per_steps:,} steps"
