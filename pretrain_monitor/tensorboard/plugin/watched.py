"""One run as the server holds it: a summary always, its whole content while somebody looks at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ...config import ConfigError, MonitorConfig
from ...durations import duration
from ...readers import LogError
from ...run_settings import load_own_settings
from ...telemetry import Incident
from ...viewing.content import RunContent
from ...viewing.expected import NO_BAND, Band, ExpectedInLog
from ...viewing.finite import finite
from ...viewing.foreign import EventFileFollower
from ...viewing.health import Health, State, is_held, judge
from ...viewing.run_log import RunLogFollower
from ...viewing.summary import RunSummary
from .logdir import EVENTS, FoundRun, RunKind

_GLANCE_AGAIN_S = 60.0  # at a run of somebody else that has grown
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
        self._kept_time: float | None = None
        self._glanced_at = 0.0  # monotonic seconds
        self._glanced_bytes: int | None = None  # of the event files then

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
        if self._follower is None:
            return self._kept_time
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

    def read_on(self) -> bool:
        """Advance by a piece what is needed of the run; whether there may be more."""
        has_more = False
        if self._summary is not None:
            has_more = self._guarded(self._sum_up)
        if self.is_wanted:
            return self._advance() or has_more
        if self._summary is None:
            return self._glance()
        self._let_go()
        return has_more

    def _sum_up(self) -> bool:
        assert self._summary is not None
        has_more = self._summary.read(_SUMMARY_PIECE)
        self.is_summed_up = self.is_summed_up or not has_more
        return has_more

    def _glance(self) -> bool:
        """Of a run of others nothing is known before all of it has been replayed, and again when it has grown."""
        if self._follower is None:
            size = self._size_of_events()
            is_early = time.monotonic() - self._glanced_at < _GLANCE_AGAIN_S
            if size == self._glanced_bytes or (is_early and self._glanced_bytes is not None):
                return False
        if self._advance():
            return True
        self._let_go()
        return False

    def _size_of_events(self) -> int:
        try:
            return sum(entry.stat().st_size for entry in self.path.iterdir() if EVENTS in entry.name)
        except OSError:
            return 0

    def _advance(self) -> bool:
        """Advance content and bands by a piece; whether there may be more."""
        if self._follower is None:
            self._follower = self._open()
        if self._guarded(lambda: self._follower is not None and self._follower.read(_LOG_PIECE)):
            return True
        self.is_whole = True
        self.is_summed_up = self.is_summed_up or self._summary is None
        if isinstance(self._follower, RunLogFollower):
            self._follower.save()
        if self._expected is None or self.looked_at is None or not self.is_summed_up:
            return False
        first, last = self.looked_at
        return self._guarded(lambda: self._expected is not None and self._expected.advance(first, last))

    def _let_go(self) -> None:
        """Forget what only a viewer needs."""
        if self._summary is None and self._follower is not None:
            self._kept_incidents, self._kept_step = self.content.incidents, self.content.last_step
            self._kept_time = self.last_time
            self._glanced_at, self._glanced_bytes = time.monotonic(), self._size_of_events()
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
            return Health(State.EMPTY, "no run log; it is being searched for incidents", "quiet")
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
