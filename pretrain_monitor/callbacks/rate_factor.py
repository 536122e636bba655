"""A learning rate below its schedule for a while, whatever sets the schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ..actions.orders import ActionRecord


class RateFactor:
    """Multiplies the rates of optimizers while they step, and puts them back: a scheduler never sees it.

    Schedulers that compute the next rate from the present one would otherwise lower it further at each step.
    """

    def __init__(self) -> None:
        self.value = 1.0
        self._lowest = 1.0
        self._from_step = 0
        self._hold_steps = self._ramp_steps = 0
        self._hooks: list[Any] = []
        self._hooked: list[Any] = []
        self._is_everywhere = False
        self._kept: list[tuple[dict[str, Any], Any]] = []
        self._past: list[tuple[float, int, int, int]] = []  # (lowest, from step, hold steps, ramp steps) each time

    def lower(
        self, optimizers: Iterable[Any], factor: float, *, step: int, hold_steps: int = 0, ramp_steps: int = 0
    ) -> float:
        """From the step after ``step`` on; what it is lowered to, which adds to what is lowered already.

        Args:
            hold_steps: before it begins to come back.
            ramp_steps: in which it comes back, along a line; 0: never.
        """
        for optimizer in optimizers:
            self._hook(innermost(optimizer))
        self._lowest = self.value = factor * self.value
        self._from_step, self._hold_steps, self._ramp_steps = step, hold_steps, ramp_steps
        self._past.append((self._lowest, step, hold_steps, ramp_steps))
        return self.value

    def rewound(self, step: int, optimizers: Iterable[Any]) -> None:
        """The training went back to ``step``: what was lowered after it is taken back."""
        self._past = [one for one in self._past if one[1] <= step]
        if not self._past:
            self._unhook()
            return
        for optimizer in optimizers:
            self._hook(innermost(optimizer))
        self._lowest, self._from_step, self._hold_steps, self._ramp_steps = self._past[-1]
        self.value = self._lowest
        self.advance(step)

    def restore(self, records: Iterable[ActionRecord], step: int) -> list[float]:
        """As it was after ``step`` in an earlier session; what ``take_up`` needs, in numbers that can travel."""
        for record in records:
            details = record.details
            factor = details.get("factor" if record.do == "lower_lr" else "lr_factor")
            if not record.is_done or record.do not in ("lower_lr", "rewind") or not isinstance(factor, float):
                continue
            self.advance(record.step)
            # One is recorded as what it came to, the other as what it was lowered by.
            self._lowest = self.value = factor if record.do == "lower_lr" else factor * self.value
            self._from_step, self._hold_steps = record.step, int(details.get("hold_steps", 0))
            self._ramp_steps = int(details.get("ramp_steps", 0))
        self.advance(step)
        found = [self._lowest, float(self._from_step), float(self._hold_steps), float(self._ramp_steps), self.value]
        self.detach()
        return found

    def take_up(self, optimizers: Iterable[Any] | None, numbers: list[float]) -> None:
        """Go on with what ``restore`` has found.

        Args:
            optimizers: None: all that step in this process.
        """
        lowest, from_step, hold, ramp, value = numbers
        if value == 1.0:
            return
        self._lowest, self.value = lowest, value
        self._from_step, self._hold_steps, self._ramp_steps = int(from_step), int(hold), int(ramp)
        self._past = [(lowest, int(from_step), int(hold), int(ramp))]
        if optimizers is None:
            self._hooks.append(register_optimizer_step_pre_hook(self._before))
            self._hooks.append(register_optimizer_step_post_hook(self._after))
            self._is_everywhere = True
        for optimizer in optimizers or ():
            self._hook(innermost(optimizer))

    def advance(self, step: int) -> None:
        """``step`` optimizer steps are completed."""
        if self.value == 1.0 or not self._ramp_steps:
            return
        share = (step - self._from_step - self._hold_steps) / self._ramp_steps
        self.value = self._lowest + (1.0 - self._lowest) * min(max(share, 0.0), 1.0)
        if self.value == 1.0:
            self._unhook()

    def detach(self) -> None:
        self._past.clear()
        self._unhook()

    def _unhook(self) -> None:
        self._put_back()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._hooked.clear()
        self._is_everywhere = False
        self.value = 1.0

    def of(self, rate: Any) -> Any:
        """What a rate of the schedule is with it."""
        is_applied = bool(self._kept)  # it was read while an optimizer steps
        return rate if self.value == 1.0 or rate is None or is_applied else rate * self.value

    def _hook(self, optimizer: Any) -> None:
        if not self._is_everywhere and not any(optimizer is known for known in self._hooked):
            self._hooked.append(optimizer)
            self._hooks.append(optimizer.register_step_pre_hook(self._before))
            self._hooks.append(optimizer.register_step_post_hook(self._after))

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._put_back()  # a step that raised has not done so
        for group in optimizer.param_groups:
            rate = group["lr"]
            self._kept.append((group, rate))
            group["lr"] = rate * self.value

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._put_back()

    def _put_back(self) -> None:
        for group, rate in self._kept:
            group["lr"] = rate
        self._kept.clear()


def innermost(optimizer: Any) -> Any:
    """torch's own optimizer: Accelerate, Fabric and Lightning wrap theirs."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def without_gradients(optimizer: Any) -> None:
    """Let the next step of an optimizer do nothing: neither weights nor moments change.

    Gradients of zero would not do: moments decay, and old ones move the weights.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
