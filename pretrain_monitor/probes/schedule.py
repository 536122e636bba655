"""When a round of probes is due, and whether there is time for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import ProbeSchedule
from .base import Probe, ProbeError

# Reasons of a round. The first that holds is told.
START, END, CHECKPOINT, INCIDENT, REGULAR, EARLY = "start", "end", "checkpoint", "incident", "regular", "early"
# A regular round that is due by tokens, which rank 0 alone counts.
TOKENS = "tokens"


class Timetable:
    """Says at which steps a probe is due, as far as steps alone can say it: every rank comes to the same answer.

    >>> table = Timetable(ProbeSchedule(every_steps=100))
    >>> [step for step in range(1, 301) if table.at(step)]
    [1, 2, 4, 8, 16, 32, 64, 100, 200, 300]
    """

    def __init__(self, schedule: ProbeSchedule) -> None:
        self._every = schedule.interval_steps
        self._early = schedule.early

    def at(self, step: int) -> str | None:
        if self._every is not None and step % self._every == 0:
            return REGULAR
        # Twice as far each time: most of what a model learns it learns in its first steps.
        is_power = step > 0 and step & (step - 1) == 0
        return EARLY if self._early and is_power and step < (self._every or 2**10) else None


class Scheduled:
    """A probe with an interval of its own, as for one that takes much longer than the others.

    It also runs in the rounds at the start, at the end, with checkpoints and after incidents, as all probes do.

    >>> class Slow:
    ...     name = "slow"
    ...     def __call__(self, model):
    ...         return {"slow/value": 1.0}
    >>> Scheduled(Slow(), every_steps=5000).is_due(10_000)
    True

    Args:
        probe: what to run.
        every_steps: steps between two regular runs of it.

    Raises:
        ProbeError: not a whole number of steps.
    """

    def __init__(self, probe: Probe, *, every_steps: int) -> None:
        if not isinstance(every_steps, int) or every_steps < 1:
            raise ProbeError(f"every_steps={every_steps!r}: give a whole number of steps, 1 or more")
        self.probe = probe
        self.every_steps = every_steps

    @property
    def name(self) -> str:
        return self.probe.name

    @property
    def is_static(self) -> bool:
        return bool(getattr(self.probe, "is_static", False))

    def is_due(self, step: int) -> bool:
        return step % self.every_steps == 0

    def __call__(self, model: Any) -> Mapping[str, float]:
        return self.probe(model)


class TokenCount:
    """Says when another ``every`` tokens have been seen."""

    def __init__(self, every: float | None) -> None:
        self._every = every
        self._last: float | None = None

    def is_due(self, tokens_seen: int | None) -> bool:
        if self._every is None or tokens_seen is None:
            return False
        number = tokens_seen // self._every
        is_new = self._last is not None and number > self._last
        self._last = number
        return is_new


class Budget:
    """Keeps the time that rounds take below a share of the training time.

    Args:
        percent: of the time that was spent on training, probes not counted.
    """

    def __init__(self, percent: float) -> None:
        self._share = percent / 100
        self.spent_s = 0.0
        self.trained_s = 0.0
        self.last_round_s = 0.0

    def add_training(self, seconds: float) -> None:
        self.trained_s += seconds

    def add_round(self, seconds: float, *, is_free: bool = False) -> None:
        """
        Args:
            is_free: a round that was asked for whatever it takes, such as the baseline, owes no training time.
        """
        self.last_round_s = seconds
        if not is_free:
            self.spent_s += seconds

    def allows(self) -> bool:
        """Whether a round of the usual length fits now."""
        return self.spent_s + self.last_round_s <= self._share * self.trained_s

    def affordable_steps(self, step_s: float) -> float:
        """Steps between rounds at which they would just fit, at ``step_s`` seconds of training a step."""
        return self.last_round_s / (self._share * step_s) if step_s > 0 else 0.0
