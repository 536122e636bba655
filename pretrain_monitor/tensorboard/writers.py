"""Where summaries go: an event file of our own, or the trainer's writer."""

from __future__ import annotations

import contextlib
import time as clock
from pathlib import Path
from typing import Any, Protocol

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

_QUEUED_EVENTS = 1000


class SummaryWriter(Protocol):
    """What the panels need of a writer."""

    def write(self, summary: Summary, step: int, time: float | None = None) -> None: ...

    def supersede(self, step: int) -> None:
        """Let TensorBoard forget what earlier sessions wrote at ``step`` or later."""
        ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class OwnWriter:
    """Writes an event file of its own into ``logdir``.

    Args:
        flush_secs: seconds after which what was written is on disk.
    """

    def __init__(self, logdir: str | Path, flush_secs: float) -> None:
        self._file = EventFileWriter(str(logdir), max_queue_size=_QUEUED_EVENTS, flush_secs=flush_secs)

    def write(self, summary: Summary, step: int, time: float | None = None) -> None:
        self._file.add_event(Event(wall_time=clock.time() if time is None else time, step=step, summary=summary))

    def supersede(self, step: int) -> None:
        for event in _restart_events(step):
            self._file.add_event(event)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class LazyWriter:
    """Makes its event file at the first write: a run that exists is listed, and one without points clutters charts."""

    def __init__(self, logdir: Path, flush_secs: float) -> None:
        self._logdir = logdir
        self._flush_secs = flush_secs
        self._writer: OwnWriter | None = None

    @property
    def has_past(self) -> bool:
        """Whether an earlier session wrote into the same run."""
        return self._writer is None and has_event_files(self._logdir)

    def write(self, summary: Summary, step: int, time: float | None = None) -> None:
        self._opened().write(summary, step, time)

    def supersede(self, step: int) -> None:
        self._opened().supersede(step)

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _opened(self) -> OwnWriter:
        if self._writer is None:
            self._writer = OwnWriter(self._logdir, self._flush_secs)
        return self._writer


class SharedWriter:
    """Writes into the trainer's event file, which stays the trainer's: it is flushed here, never closed.

    A trainer may close its writer before the last events are told; they go into a second file of the same run.

    Args:
        writer: anything with ``add_summary(summary, global_step)``, such as torch's ``FileWriter``.
        flush_secs: seconds between flushes; torch's writer by itself waits for two minutes.
    """

    def __init__(self, writer: Any, flush_secs: float) -> None:
        self._shared = writer
        self._next_flush = 0.0
        self._flush_secs = flush_secs
        self._after = None if self.logdir is None else LazyWriter(self.logdir, flush_secs)
        self._is_shared_closed = False

    @property
    def logdir(self) -> Path | None:
        """Directory of the trainer's run; None if its writer does not tell."""
        get = getattr(self._shared, "get_logdir", None)
        return None if get is None else Path(get())

    def write(self, summary: Summary, step: int, time: float | None = None) -> None:
        if not self._is_shared_closed:
            try:
                self._shared.add_summary(summary, step)
            except OSError:
                if self._after is None:
                    raise
                self._is_shared_closed = True
        if self._is_shared_closed and self._after is not None:
            self._after.write(summary, step, time)
        elif clock.monotonic() >= self._next_flush:
            self.flush()

    def supersede(self, step: int) -> None:
        if hasattr(self._shared, "add_event"):
            for event in _restart_events(step):
                self._shared.add_event(event, step)

    def flush(self) -> None:
        if self._after is not None:
            self._after.flush()
        if not self._is_shared_closed and hasattr(self._shared, "flush"):
            self._next_flush = clock.monotonic() + self._flush_secs
            # Closed in the meantime means flushed; a full disk shows at the next write.
            with contextlib.suppress(OSError):
                self._shared.flush()

    def close(self) -> None:
        self.flush()
        if self._after is not None:
            self._after.close()


def has_event_files(logdir: Path) -> bool:
    return any(logdir.glob("*tfevents*"))


def _restart_events(step: int) -> list[Event]:
    # Twice: TensorBoard takes the first START of a run for its beginning and purges only at later ones.
    log = SessionLog(status=SessionLog.START)
    return [Event(wall_time=clock.time(), step=step, session_log=log) for _ in range(2)]
