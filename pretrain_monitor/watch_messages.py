"""Messages about a run from outside its job: its alerts, and what a dead or hanging job cannot tell itself."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .config import NotifyConfig
from .records import event_of, sample_of
from .sinks.delivered import WATCH_FILE_NAME
from .sinks.notify import NotifySink
from .telemetry import Event, Status
from .viewing.health import is_held

_CLOSING_S = 60.0
_LOOK_EVERY_S = 5.0  # at the lock of the run directory
_LOOKS_UNTIL_SURE = 2  # a job that is just being restarted holds it again soon

GONE = "ended without a word: its process is gone"


class Messenger:
    """Sends messages about what is read of a log.

    What had happened before watching began is not told, unless it is still going on.

    Raises:
        ConfigError: an address that cannot be used.
    """

    def __init__(
        self,
        config: NotifyConfig,
        run_dir: Path,
        *,
        is_held: Callable[[Path], bool | None] = is_held,
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._run_dir = run_dir
        self._is_held = is_held
        self._now = now
        self._sink = NotifySink(
            config, run_dir, is_fresh=False, closing_s=_CLOSING_S, record=WATCH_FILE_NAME, now=now,
            why_silent=self._why_silent,
        )  # fmt: skip
        self._step: int | None = None
        self._has_begun = False
        self._next_look = 0.0
        self._looks_without_process = 0
        self._has_ended = False

    def tell(self, records: Sequence[dict[str, Any]], *, ended: str | None) -> None:
        """Take in what was read since the last call.

        Args:
            ended: why the run is over, as the newest record has it; None while it goes on.
        """
        events = []
        for record in records:
            if record["type"] == "sample":
                self._see(record)
            elif record["type"] == "event" and (event := event_of(record)) is not None:
                events.append(event)
            elif record["type"] == "run":
                self._has_ended, self._looks_without_process = False, 0
                if record.get("resumed_from") is not None:
                    # What came later in the log so far is superseded.
                    events = [event for event in events if event.step <= record["resumed_from"]]
        for event in events if self._has_begun else _still_open(events):
            self._sink.on_event(event)
        if ended is not None:
            self._end(ended, is_news=self._has_begun)
        elif not self._has_ended:
            self._look()
        self._has_begun = True
        self._sink.on_tick()

    def close(self) -> None:
        self._sink.close()

    def _see(self, record: dict[str, Any]) -> None:
        sample = sample_of(record)
        if sample is not None:
            self._step = sample.step
            self._has_ended = False
            self._sink.on_sample(sample)

    def _look(self) -> None:
        """Whether a process still holds the run; the log of one that was killed just stops."""
        if self._now() < self._next_look:
            return
        self._next_look = self._now() + _LOOK_EVERY_S
        self._looks_without_process = self._looks_without_process + 1 if self._is_held(self._run_dir) is False else 0
        if self._looks_without_process >= _LOOKS_UNTIL_SURE:
            self._end(GONE, is_news=True)

    def _end(self, reason: str, *, is_news: bool) -> None:
        if not self._has_ended:
            self._has_ended = True
            if is_news:
                self._sink.on_end(self._step, reason)

    def _why_silent(self) -> str:
        alive = self._is_held(self._run_dir)
        if alive is None:
            return "Whether its process is alive cannot be told from here."
        return "Its process is still there: it may hang." if alive else "No process holds the run any more."


def _still_open(events: Sequence[Event]) -> list[Event]:
    latest = {event.incident_id: event for event in events}
    return [event for event in latest.values() if event.incident.status is Status.OPEN]
