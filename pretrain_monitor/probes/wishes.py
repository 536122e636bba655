"""What only one rank can know about when probes are due: time, tokens, incidents."""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Callable, Sequence

from ..config import ProbeSchedule
from ..telemetry import Change, Event, Kind
from .schedule import CHECKPOINT, INCIDENT, REGULAR, TOKENS, Budget, TokenCount

logger = logging.getLogger(__name__)

# Incidents about the training itself. One that a probe has raised is no reason to probe again.
_NOT_OF_TRAINING = (Kind.RETENTION_LOSS, Kind.PROBE_FAILURE)


class Wishes:
    """On rank 0: whether it wants a round now, and why.

    Args:
        tokens_seen: cumulative training tokens as of the newest sample; None if unknown.
    """

    def __init__(self, schedule: ProbeSchedule, tokens_seen: Callable[[], int | None]) -> None:
        self._schedule = schedule
        self._tokens_seen = tokens_seen
        self._tokens = TokenCount(schedule.every_tokens)
        self._budget = Budget(schedule.budget_percent)
        self._incident_over = False
        self._first_step = 0
        self._since = 0.0  # when training went on
        self._told_interval = 0
        self.has_checkpoints = schedule.on_checkpoint

    @property
    def may_have_any(self) -> bool:
        """Whether there may be a wish that steps alone do not give rise to."""
        return self._incident_over or self._schedule.every_tokens is not None

    def begin(self, step: int) -> None:
        self._first_step = step
        self._since = clock.monotonic()

    def see(self, events: Sequence[Event]) -> None:
        if self._schedule.after_incidents:
            for event in events:
                incident = event.incident
                is_over = event.change is Change.CLOSED and incident.is_alert
                self._incident_over |= is_over and incident.kind not in _NOT_OF_TRAINING

    def after_step(self, step: int, fixed: str | None) -> str | None:
        """
        Args:
            fixed: why steps alone call for a round.
        """
        reason = TOKENS if self._tokens.is_due(self._tokens_seen()) else fixed
        if self._incident_over:
            reason = INCIDENT
        if reason is None:
            return None
        if not self._is_affordable():
            # An incident stays a reason until there is time for it.
            if reason == REGULAR:
                self._tell_interval(step)
            return None
        self._incident_over = False
        return reason

    def after_checkpoint(self) -> str | None:
        return CHECKPOINT if self.has_checkpoints and self._is_affordable() else None

    def add_round(self, seconds: float, *, is_free: bool) -> None:
        """A round has just ended."""
        now = clock.monotonic()
        self._budget.add_training(now - seconds - self._since)
        self._budget.add_round(seconds, is_free=is_free)
        self._since = now

    def _is_affordable(self) -> bool:
        now = clock.monotonic()
        self._budget.add_training(now - self._since)
        self._since = now
        return self._budget.allows()

    def _tell_interval(self, step: int) -> None:
        every = self._schedule.interval_steps
        steps = step - self._first_step
        if every is None or steps <= 0:
            return
        affordable = self._budget.affordable_steps(self._budget.trained_s / steps)
        rounds = max(2, -(-int(affordable) // every))
        if rounds * every > 1.5 * self._told_interval:
            self._told_interval = rounds * every
            logger.warning(
                "a round of probes takes %.1f s; to stay below %g %% of the training time they come about every %s "
                "steps instead of every %s",
                self._budget.last_round_s,
                self._schedule.budget_percent,
                f"{rounds * every:,}",
                f"{every:,}",
            )
