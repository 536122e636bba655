"""What is known of one run: its signals at full resolution, its incidents and what else its log holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..actions.orders import ActionRecord
from ..announcing import Announcement
from ..telemetry import Event, Incident, Sample, in_order
from .domains import DomainResults
from .finite import finite
from .sample_lines import SampleBlock
from .series import Floats, Series
from .sessions import End, Session

# Beyond this the older part of every signal is thinned: what is drawn stays the same, a close look finds fewer rows.
MOST_BYTES = 256 << 20
_MOST_SIGNALS = 2000
_MOST_EVENTS = 50_000
_MOST_ANNOUNCEMENTS = 5000


class RunContent:
    """Filled by whoever reads a log, record by record; read by whoever shows the run.

    ``version`` grows with every change, and ``epoch`` whenever something was taken back: who follows the run has to
    fetch what was drawn before again.
    """

    def __init__(self) -> None:
        self.version = 0
        self.epoch = 0
        self.series: dict[str, Series] = {}
        self.tokens = Series()
        self.times = Series()
        self.domains = DomainResults()
        self.announcements: list[Announcement] = []
        self.actions: list[ActionRecord] = []
        self.sessions: list[Session] = []
        self.end: End | None = None
        self.samples = 0
        self.left_out = 0  # signals beyond the number that is kept
        self._events: dict[str, list[Event]] = {}
        self._event_count = 0

    @property
    def last_step(self) -> int | None:
        """Of the newest sample of any kind."""
        return None if (last := self.times.last or self._newest()) is None else last[0]

    @property
    def first_step(self) -> int | None:
        firsts = [int(series.steps[0]) for series in self.series.values() if len(series)]
        return min(firsts, default=None)

    @property
    def incidents(self) -> list[Incident]:
        """In their latest state, in order of onset."""
        return in_order([events[-1].incident for events in self._events.values()])

    def history(self, incident_id: str) -> list[Event]:
        """What was told of an incident, oldest first."""
        return list(self._events.get(incident_id, ()))

    @property
    def nbytes(self) -> int:
        return sum(series.nbytes for series in (*self.series.values(), self.tokens, self.times))

    def add_block(self, block: SampleBlock) -> None:
        """Many samples at once, none of probes."""
        self._changed()
        self.end = None
        self.samples += len(block.steps)
        self.times.extend(block.steps, block.times)
        if block.tokens_seen is not None:
            self.tokens.extend(block.steps, block.tokens_seen)
        for name, values in block.signals.items():
            if (series := self._series(name)) is not None:
                series.extend(block.steps, values)
        self.keep_within(MOST_BYTES)

    def add_sample(self, sample: Sample) -> None:
        self._changed()
        self.end = None
        self.samples += 1
        if (time := finite(sample.time)) is not None:
            self.times.append(sample.step, time)
        if (tokens := finite(sample.tokens_seen)) is not None:
            self.tokens.append(sample.step, tokens)
        for name, value in sample.metrics.items():
            if (series := self._series(name)) is not None:
                series.append(sample.step, value)
        self.domains.add_sample(sample)
        if self.samples % 4096 == 0:
            self.keep_within(MOST_BYTES)

    def add_late(self, step: int, metrics: Mapping[str, float]) -> None:
        """Values of a step that has been; drawn, where nothing later of the signal has come."""
        self._changed()
        for name, value in metrics.items():
            series = self._series(name)
            if series is not None and ((last := series.last) is None or last[0] <= step):
                series.append(step, value)

    def forget_incidents(self) -> None:
        self._events = {}
        self._event_count = 0

    def add_event(self, event: Event) -> None:
        self._changed()
        told = self._events.setdefault(event.incident_id, [])
        told.append(event)
        self._event_count += 1
        if len(told) > 12:
            # An incident that is updated for hours: how it began and how it stands is what people look at.
            del told[6]
            self._event_count -= 1
        while self._event_count > _MOST_EVENTS:
            # The oldest that does not matter any more; alerts stay.
            name = next((n for n, t in self._events.items() if not t[-1].incident.is_alert), next(iter(self._events)))
            self._event_count -= len(self._events.pop(name))

    def add_announcement(self, announcement: Announcement) -> None:
        self._changed()
        self.announcements.append(announcement)
        del self.announcements[:-_MOST_ANNOUNCEMENTS]

    def add_action(self, action: ActionRecord) -> None:
        self._changed()
        self.actions.append(action)
        del self.actions[:-_MOST_ANNOUNCEMENTS]

    def begin_session(self, after_step: int | None, time: float | None, max_grad_norm: float | None = None) -> None:
        """A process goes on after ``after_step``, and what the log holds past it is void; None: nothing is."""
        self._changed()
        self.end = None
        self.sessions.append(Session(after_step or 0, time, max_grad_norm))
        if after_step is not None:
            self.epoch += 1
            self.cut(after_step)

    def finish(self, end: End) -> None:
        self._changed()
        self.end = end

    def cut(self, after: int) -> None:
        """Take back everything past step ``after``."""
        last = self.last_step
        if last is None or last <= after:
            return
        self.epoch += 1
        self._changed()
        for series in (*self.series.values(), self.tokens, self.times):
            series.cut(after)
        self.series = {name: series for name, series in self.series.items() if len(series)}
        self._events = {
            name: kept for name, told in self._events.items() if (kept := [e for e in told if e.step <= after])
        }
        self._event_count = sum(map(len, self._events.values()))
        self.announcements = [said for said in self.announcements if said.said_after <= after]
        self.actions = [action for action in self.actions if action.step <= after]
        self.domains.supersede(after)

    def tokens_at(self, steps: Any) -> Floats:
        """Tokens seen at each step, NaN where nobody told them, straight between two steps that did."""
        return _at(self.tokens, steps)

    def times_at(self, steps: Any) -> Floats:
        """Seconds since the epoch at each step, likewise."""
        return _at(self.times, steps)

    def _newest(self) -> tuple[int, float] | None:
        found = [last for series in self.series.values() if (last := series.last) is not None]
        return max(found, default=None)

    def _series(self, name: str) -> Series | None:
        series = self.series.get(name)
        if series is None:
            if len(self.series) >= _MOST_SIGNALS:
                self.left_out += 1
                return None
            series = self.series[name] = Series()
        return series

    @property
    def is_thinned(self) -> bool:
        """Whether of an older part only the extremes are left."""
        return any(series.samples_per_pair > 1 for series in self.series.values())

    def keep_within(self, most_bytes: int) -> None:
        """Thin the longest signals until all of them take no more memory than that."""
        while self.nbytes > most_bytes:
            longest = max((*self.series.values(), self.tokens, self.times), key=len)
            if len(longest) < 10_000:
                return  # nothing but names
            longest.thin()

    def _changed(self) -> None:
        self.version += 1


def _at(series: Series, steps: Any) -> Floats:
    if not len(series):
        return np.full(len(steps), np.nan)
    found: Floats = np.interp(steps, series.steps, series.values, left=np.nan, right=np.nan)
    return found
