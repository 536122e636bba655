"""What a demo run does at which step: the learning-rate schedule, and the fault that is induced on the way.

Steps count from 1, as everywhere: step k is the k-th optimizer step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FAULTS = ("lr", "batch", "nan", "domain", "none")

PEAK_RATE = 2e-3
_WARMUP_STEPS = 50
_LAST_RATE = 0.1  # share of the peak at the last step

BURST_FACTOR = 30.0
BURST_STEPS = 2  # after three or more the loss does not come back before the run ends
CORRUPTED_BATCHES = 5

_STEPS = 1100
_FAULT_AT = 0.62  # of the run: late enough to know its noise, early enough to see how it ends
_EARLIEST_FAULT = 260  # the monitor's charts start after 150 samples and learn the tail of the noise from there
_SHORTEST_AFTERMATH = 60
_AFTER_NAN = 50  # nothing happens any more in a run whose weights are NaN


class PlanError(ValueError):
    """The demo cannot be run as asked; the message is one line for the user."""


@dataclass(frozen=True)
class Plan:
    """One demo run.

    Args:
        steps: optimizer steps in all.
        fault_step: first step with the fault; None for a healthy run.
    """

    fault: str
    steps: int
    fault_step: int | None

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, cosine decay to a tenth, and the burst if that is the fault."""
        warm_up = min(1.0, step / _WARMUP_STEPS)
        decay = _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        burst = BURST_FACTOR if self._is_during("lr", step, BURST_STEPS) else 1.0
        return PEAK_RATE * warm_up * decay * burst

    def is_corrupted(self, step: int) -> bool:
        """Whether the batch is noise instead of text, as from a damaged shard."""
        return self._is_during("batch", step, CORRUPTED_BATCHES)

    def is_unlabelled(self, step: int) -> bool:
        """Whether nothing in the batch is to be learned: a mean over no labels is 0/0."""
        return self._is_during("nan", step, 1)

    def domain(self, step: int) -> str:
        return "documentation" if self._is_during("domain", step, self.steps) else "code"

    def describe(self) -> str:
        """What will happen, in one sentence; empty for a healthy run."""
        what = {
            "lr": f"the learning rate is multiplied by {BURST_FACTOR:g} for {BURST_STEPS} steps",
            "batch": f"{CORRUPTED_BATCHES} batches in a row are random bytes",
            "nan": "a batch has nothing to learn from, and the mean loss over nothing is NaN",
            "domain": "the data switch from Python code to English documentation, and stay",
        }
        return "" if self.fault_step is None else f"at step {self.fault_step:,} {what[self.fault]}"

    def _is_during(self, fault: str, step: int, length: int) -> bool:
        return self.fault == fault and self.fault_step is not None and 0 <= step - self.fault_step < length


def plan_run(fault: str, steps: int | None = None) -> Plan:
    """Where the fault goes in a run of ``steps`` steps, about 1,100 if None.

    Raises:
        PlanError: no such fault, or too few steps for it to be told from noise.
    """
    if fault not in FAULTS:
        raise PlanError(f'unknown fault "{fault}"; choose one of {", ".join(FAULTS)}')
    if steps is not None and steps < 2:
        raise PlanError(f"--steps {steps} is too short for a run; give at least 2")
    total = steps or _STEPS
    if fault == "none":
        return Plan(fault, total, None)
    fault_step = round(_FAULT_AT * total)
    if fault == "nan":
        # A NaN needs no statistics: it is seen in the first steps as well.
        return Plan(fault, min(total, fault_step + _AFTER_NAN) if steps is None else total, fault_step)
    fault_step = max(fault_step, _EARLIEST_FAULT)
    if total < fault_step + _SHORTEST_AFTERMATH:
        least = _EARLIEST_FAULT + _SHORTEST_AFTERMATH
        raise PlanError(
            f"--steps {steps} is too short for --fault {fault}: the monitor learns the noise of a run for 150 steps "
            f"first; give at least {least}, or --fault none"
        )
    return Plan(fault, total, fault_step)
