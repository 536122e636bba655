"""Runs probes beside a training: decides when, on all ranks together, and keeps whatever fails from the training."""

from __future__ import annotations

import contextlib
import logging
import os
import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import ProbeSchedule
from ..distributed import is_distributed
from ..monitor import Monitor
from .agreement import Agreement, NotAllThere
from .attempt import Attempt, ForwardContext, attempt
from .base import Probe
from .findings import Findings
from .schedule import CHECKPOINT, EARLY, END, REGULAR, START, TOKENS, Scheduled, Timetable
from .wishes import Wishes

logger = logging.getLogger(__name__)

# Where several ranks have to agree: steps between two looks at what only rank 0 knows.
_LOOK_EVERY = 10


@dataclass(slots=True)
class _Entry:
    probe: Probe
    is_off: bool = False
    last_step: int | None = None

    @property
    def is_done(self) -> bool:
        """What does not depend on the model is measured once."""
        return self.is_off or (self.last_step is not None and getattr(self.probe, "is_static", False))


class ProbeRunner:
    """Everything between a training loop and its probes. No method raises; every rank calls each of them.

    Args:
        probes: what to measure.
        schedule: when.
        monitor: takes the results as samples, on rank 0.
        is_writer: whether this is rank 0.
        flush: brings everything that was reported so far into the monitor, before a result is put behind it.
        tokens_seen: cumulative training tokens as of the newest sample; None if unknown.
        forward_context: what the trainer computes forward passes in, such as autocast.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        schedule: ProbeSchedule,
        monitor: Monitor,
        *,
        is_writer: bool,
        flush: Callable[[], None],
        tokens_seen: Callable[[], int | None],
        forward_context: ForwardContext = contextlib.nullcontext,
    ) -> None:
        self._entries = [_Entry(probe) for probe in probes]
        self._schedule = schedule
        self._timetable = Timetable(schedule)
        self._monitor = monitor
        self._is_writer = is_writer
        self._flush = flush
        self._tokens_seen = tokens_seen
        self._wishes = Wishes(schedule, tokens_seen)
        self._forward_context = forward_context
        self._findings = Findings(monitor)
        self._agreement: Agreement | None = None
        self._is_over = False  # on every rank
        self._may_join_later = False
        self._is_off = False  # on rank 0, which has to go on answering the others
        self._recalled: int | None = None  # on rank 0: the last round of an earlier session
        self._first_step = 0
        self._began_at = 0.0

    def begin(self, step: int, model: Any) -> None:
        """Watching begins after ``step`` completed steps: the baseline, or what a resumed run knows already."""
        self._first_step = step
        if not is_distributed() and "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
            # A loop's monitor may be made before its process group, which is sure to be there once it trains.
            self._may_join_later = True
        elif self._join(step):
            if step == 0 and self._schedule.at_start:
                self._ask("start", step, model, lambda: START)
        else:
            # A rank may take long to load what it resumes from; when a step is complete, all have caught up.
            self._may_join_later = not self._is_over

    def after_step(self, step: int, model: Any) -> None:
        """A step is complete: run what is due."""
        if self._may_join_later:
            self._join_late(step)
        if self._is_over or self._agreement is None:
            return
        fixed = self._at(step)
        if self._agreement.is_needed:
            if fixed is None and step % _LOOK_EVERY:
                return
        elif fixed is None and not self._wishes.may_have_any:
            return
        self._ask(f"{step}", step, model, lambda: self._wishes.after_step(step, fixed))

    def checkpointed(self, step: int, model: Any) -> None:
        """The trainer saved a checkpoint of the present step."""
        if self._schedule.on_checkpoint:
            self._ask(f"{step} saved", step, model, self._wishes.after_checkpoint)

    def end(self, step: int, model: Any) -> None:
        """Training has ended as it should."""
        if self._schedule.at_end:
            self._ask(f"{step} end", step, model, lambda: END)

    def close(self) -> None:
        """No more rounds."""
        self._is_over = True
        with contextlib.suppress(ValueError):
            self._monitor.listeners.remove(self._wishes.see)

    def _join(self, step: int) -> bool:
        """Whether all ranks have come to run probes."""
        try:
            agreement = Agreement(is_writer=self._is_writer)
        except Exception:
            self._is_over = True
            logger.exception("the ranks cannot agree on probes, which are switched off; training goes on")
            return False
        if not agreement.is_complete:
            return False
        self._agreement = agreement
        self._began_at = clock.monotonic()
        self._wishes.begin(step)
        if self._is_writer:
            # On this rank alone: it answers the others even if this fails.
            with self._guard():
                self._monitor.listeners.append(self._wishes.see)
                self._recalled = self._findings.recall(step)
        return True

    def _join_late(self, step: int) -> None:
        self._may_join_later = False
        if not self._join(step):
            self._is_over = True
            logger.warning("the probes are switched off: not every rank runs them; give all ranks the same monitor")
        elif self._is_writer and self._first_step == 0 and self._schedule.at_start:
            logger.warning("the probes have no baseline: not all ranks had come to them before the first step")

    def _ask(self, question: str, step: int, model: Any, wish: Callable[[], str | None]) -> None:
        """A round, if rank 0 wants one and all ranks are there."""
        # The same on every rank.
        if self._agreement is None or self._is_over or not self._members(step, END):
            return
        reason = None
        with self._guard():
            if self._is_writer and not self._is_off and step != self._recalled:
                reason = wish()
        with self._guard():
            try:
                reason = self._agreement.on(question, reason, step_s=self._step_s(step))
            except NotAllThere:
                self._go_without(reason, step)
                return
            except Exception:
                # The process group is gone, or rank 0 is.
                self._is_over = True
                raise
            if reason is not None:
                self._round(step, model, reason)

    def _step_s(self, step: int) -> float:
        return (clock.monotonic() - self._began_at) / max(1, step - self._first_step)

    def _go_without(self, reason: str | None, step: int) -> None:
        if reason == CHECKPOINT:
            self._wishes.has_checkpoints = False
            what = "checkpoints are no longer probed: not every rank says that they are saved"
        else:
            self._is_off = True
            what = "the probes are switched off: not every rank came to their round"
        if self._is_writer:
            logger.warning("%s (step %s)", what, f"{step:,}")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._is_off = True
            logger.exception("the probes failed and are switched off; training goes on")

    def _at(self, step: int) -> str | None:
        """Why steps alone call for a round, the same on every rank."""
        usual = self._timetable.at(step)
        for entry in self._entries:
            if isinstance(entry.probe, Scheduled):
                if entry.probe.is_due(step) and not entry.is_done:
                    return REGULAR
            elif usual is not None and not entry.is_done:
                return usual
        return None

    def _members(self, step: int, reason: str) -> list[_Entry]:
        """Who takes part in a round: the same on every rank, and nobody twice at one step."""
        entries = [entry for entry in self._entries if not entry.is_done and entry.last_step != step]
        if reason not in (REGULAR, EARLY, TOKENS):
            return entries
        is_usual = reason == TOKENS or self._timetable.at(step) is not None
        return [e for e in entries if (e.probe.is_due(step) if isinstance(e.probe, Scheduled) else is_usual)]

    def _round(self, step: int, model: Any, reason: str) -> None:
        members = self._members(step, reason)
        if not members:
            return
        started = clock.monotonic()
        self._flush()
        attempts: list[Attempt] = []
        for entry in members:
            attempts.append(attempt(entry.probe, model, self._forward_context))
            entry.is_off = attempts[-1].problem is not None
            entry.last_step = step
        self._is_over = all(entry.is_off for entry in self._entries)
        if self._is_writer:
            # On this rank alone, so nothing that goes wrong here may keep it from what all ranks do.
            with self._guard():
                self._findings.tell(step, REGULAR if reason == TOKENS else reason, attempts, self._tokens_seen())
        self._wishes.add_round(clock.monotonic() - started, is_free=reason in (START, END))
