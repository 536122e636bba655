"""One run as the server holds it: a summary always, its whole content while somebody looks at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ...config import ConfigError, MonitorConfig
from ...readers import LogError
from ...run_settings import load_own_settings
from ...telemetry import Incident
from ...viewing.content import RunContent
from ...viewing.expected import NO_BAND, Band, ExpectedInLog
from ...viewing.finite import finite
from ...viewing.foreign import EventFileFollower
from ...viewing.health import Health, State, duration, is_held, judge
from ...viewing.run_log import RunLogFollower
from ...viewing.summary import RunSummary
from .logdir import FoundRun, RunKind

_SUMMARY_PIECE, _LOG_PIECE = 2 << 20, 128 << 10  # bytes: some milliseconds each, between which requests are answered


class WatchedRun:
    """Follows one run. Whoever reads or advances it holds ``lock``.

    Args:
        name: as the page shows it.
    """

    def __init__(self, name: str, found: FoundRun) -> None:
        self.name = name
        self.kind = found.kind
        self.path = found.path
        self.lock = threading.RLock()
        self.problem = ""  # why it cannot be read, in a line
        self.wanted_until = 0.0  # monotonic seconds
        self.read_at = 0.0  # the same
        self.looked_at: tuple[int, int] | None = None  # steps that the page shows
        self.is_summed_up = False
        self.is_whole = False  # the content has been read to the end of the log once
        self._summary = RunSummary(found.path) if found.kind is RunKind.LOG else None
        self._follower: RunLogFollower | EventFileFollower | None = None
        self._expected: ExpectedInLog | None = None
        self._held: tuple[float, bool | None] = (0.0, None)
        self._kept_incidents: list[Incident] = []
        self._kept_step: int | None = None

    @property
    def content(self) -> RunContent:
        """What has been read so far; empty until somebody has wanted the run."""
        return self._follower.content if self._follower is not None else RunContent()

    @property
    def mark(self) -> str:
        """Differs as soon as anything that can be drawn has changed."""
        bands = self._follower.version if isinstance(self._follower, EventFileFollower) else 0
        if self._expected is not None:
            bands = self._expected.version
        content = self.content
        return f"{content.epoch}.{content.version}.{bands}.{len(self.incidents)}.{int(self.is_whole)}"

    @property
    def share_read(self) -> float:
        """How much of a run log has been read into the content, from 0 to 1."""
        if self.is_whole or not isinstance(self._follower, RunLogFollower):
            return 1.0 if self.is_whole else 0.0
        try:
            return min(1.0, self._follower.tail.offset / max(self.path.stat().st_size, 1))
        except OSError:
            return 0.0

    @property
    def incidents(self) -> Sequence[Incident]:
        if self._summary is not None:
            return self._summary.incidents
        return self.content.incidents if self._follower is not None else self._kept_incidents

    @property
    def step(self) -> int | None:
        if self._summary is not None:
            return self._summary.step
        return self.content.last_step if self._follower is not None else self._kept_step

    @property
    def tokens_seen(self) -> int | None:
        if self._summary is not None:
            return self._summary.tokens_seen
        last = self.content.tokens.last
        return None if last is None else int(last[1])

    @property
    def last_time(self) -> float | None:
        """Of the newest sample, seconds since the epoch."""
        if self._summary is not None:
            return self._summary.time
        last = self.content.times.last
        return None if last is None else finite(last[1])

    def health(self, now: float) -> Health:
        if self.problem:
            return Health(State.EMPTY, self.problem, "warning")
        age_s = None if self.last_time is None else max(now - self.last_time, 0.0)
        if self._summary is None:
            return self._health_of_others(age_s)
        return judge(
            self.incidents,
            step=self._summary.step,
            age_s=age_s,
            interval_s=self._summary.interval_s,
            end=self._summary.end,
            is_alive=self._is_alive(),
        )

    def band(self, signal: str, first: int, last: int) -> Band:
        if isinstance(self._follower, EventFileFollower):
            return self._follower.band(signal, first, last)
        return NO_BAND if self._expected is None else self._expected.band(signal, first, last)

    def want(self, seconds: float) -> None:
        """Keep the whole content for so long."""
        self.wanted_until = time.monotonic() + seconds

    @property
    def is_wanted(self) -> bool:
        return time.monotonic() < self.wanted_until

    def sum_up(self) -> bool:
        """Advance the summary by a piece; whether there may be more."""
        if self._summary is None:
            # Of other people's runs nothing is known before all of it was replayed, which is done once for a glance.
            if self.is_summed_up or self._follower is not None:
                return False
            self.is_summed_up = True
            return False
        has_more = self._guarded(lambda: self._summary is not None and self._summary.read(_SUMMARY_PIECE))
        self.is_summed_up = self.is_summed_up or not has_more
        return has_more

    def advance(self) -> bool:
        """Advance content and bands by a piece; whether there may be more."""
        if self._follower is None:
            self._follower = self._open()
        if self._guarded(lambda: self._follower is not None and self._follower.read(_LOG_PIECE)):
            return True
        self.is_whole = True
        if isinstance(self._follower, RunLogFollower):
            self._follower.save()
        if self._expected is None or self.looked_at is None or not self.is_summed_up:
            return False
        first, last = self.looked_at
        return self._guarded(lambda: self._expected is not None and self._expected.advance(first, last))

    def let_go(self) -> None:
        """Forget what only a viewer needs."""
        if self._summary is None and self._follower is not None:
            self._kept_incidents, self._kept_step = self.content.incidents, self.content.last_step
        self._follower, self._expected = None, None
        self.is_whole = False
        self.looked_at = None

    @property
    def nbytes(self) -> int:
        return self.content.nbytes if self._follower is not None else 0

    def _open(self) -> RunLogFollower | EventFileFollower:
        if self._summary is None:
            return EventFileFollower(self.path)
        try:
            config = load_own_settings(self.path)
        except ConfigError:
            config = MonitorConfig()  # bands of other settings are still bands
        self._expected = ExpectedInLog(self._summary, config)
        return RunLogFollower(self.path)

    def _health_of_others(self, age_s: float | None) -> Health:
        if self._follower is None and not self._kept_incidents and self._kept_step is None:
            return Health(State.EMPTY, "recorded without this monitor; open it to look for incidents", "quiet")
        found = judge(self.incidents, step=self.step, age_s=None, interval_s=None, end=None, is_alive=None)
        if age_s is not None and age_s > 600 and found.state is State.HEALTHY:
            return Health(State.SILENT, f"no data for {duration(age_s)}; it may have ended", "quiet")
        return found

    def _is_alive(self) -> bool | None:
        looked, alive = self._held
        if time.monotonic() - looked > 2.0:
            alive = is_held(self.path.parent)
            self._held = (time.monotonic(), alive)
        return alive

    def _guarded(self, piece: Callable[[], bool]) -> bool:
        try:
            has_more = piece()
        except (OSError, LogError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.problem = f"cannot be read: {text}" if isinstance(error, OSError) else text
            return False
        self.problem = ""
        return has_more
