"""Several runs, or one that was resumed, in one log: found by steps that fall, in a reading ahead of the real one."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .cells import CellError, is_empty, step_number
from .errors import LogError
from .notes import ReadNotes

# More often nobody restarts a job: two processes write one log, or it is no log in the order of time.
_MOST_FALLS = 200
_MOST_OF_ROWS = 0.1
MOST_LATE = 100_000  # rows, which are held in memory


class _Session(NamedTuple):
    """A stretch of rows with rising steps."""

    start: int  # ordinal number of its first row with a step
    first: int  # step
    last: int


class LateRow(NamedTuple):
    """A row without a loss behind rows of later steps: an evaluation that took its time."""

    ordinal: int  # among the rows with a step
    line: int
    step: int
    row: Mapping[str, Any]


def is_late(row: Mapping[str, Any], step: int, before: int | None) -> bool:
    """Whether a row only adds to a step that has been passed already, and no training went back there."""
    return before is not None and step < before and is_empty(row.get("loss"))


class Selection:
    """Which rows of a log are the run that was asked for, and have not been given up.

    Args:
        sessions: of that run, in the order of the log.
        stop: ordinal number of the first row behind them; None: there are no more.
        run: number of the run, counted from 1, of ``runs``.
        late: rows of the whole log that came late.
        is_asked: for this run, by its number.
    """

    def __init__(
        self, sessions: list[_Session], stop: int | None, run: int, runs: int, late: list[LateRow], is_asked: bool
    ) -> None:
        self.run, self.runs = run, runs
        self._is_asked = is_asked
        self.resumed_after = [session.first - 1 for session in sessions[1:]]
        self.given_up = 0
        self._starts = [session.start for session in sessions]
        self._stop = stop
        # A row is void if any later session begins at its step or before.
        self._void_from = [
            min((later.first for later in sessions[at + 1 :]), default=None) for at in range(len(sessions))
        ]
        self.late = sorted((row for row in late if self._is_void(row.ordinal, row.step) is False), key=_step)

    def takes(self, ordinal: int, step: int) -> bool:
        """Whether a row counts, by its number among those with a step."""
        is_void = self._is_void(ordinal, step)
        self.given_up += bool(is_void)
        return is_void is False

    def _is_void(self, ordinal: int, step: int) -> bool | None:
        """Whether a later session has trained the step again; None in other runs."""
        if ordinal < self._starts[0] or (self._stop is not None and ordinal >= self._stop):
            return None
        limit = self._void_from[bisect.bisect_right(self._starts, ordinal) - 1]
        return limit is not None and step >= limit

    def tell(self, log: str, notes: ReadNotes) -> None:
        """What was chosen and what was left out, once all has been read."""
        notes.resumed_after += self.resumed_after
        if self.runs > 1:
            notes.say(
                log,
                f"{self.runs} runs one after the other; this is number {self.run}: "
                f"give {log}#1 to {log}#{self.runs} for another",
                is_warning=not self._is_asked,
            )
        if self.resumed_after:
            times = "once" if len(self.resumed_after) == 1 else f"{len(self.resumed_after)} times"
            notes.say(log, f"resumed {times}; {self.given_up:,} rows of steps that were trained again are left out")


def sessions_in(log: str, rows: Iterable[tuple[int, Mapping[str, Any]]], run: int | None) -> Selection | None:
    """What to take of a log; None if its steps only rise, or fall in a way that no restart explains.

    Args:
        run: number of the run that is wanted; None: the last.

    Raises:
        LogError: there is no such run.
    """
    found = _Stretches()
    with contextlib.suppress(CellError, LogError):  # the real reading says it, at its place
        for line, row in rows:
            if not is_empty(row.get("step")):
                found.add(line, step_number(row["step"]), row)
                if len(found.sessions) > _MOST_FALLS:
                    break
    return _checked(log, found.in_order(), run, found.late)


class _Stretches:
    """Rows one after the other -> where their steps fall."""

    def __init__(self) -> None:
        self.sessions: list[_Session] = []  # all but the last
        self.late: list[LateRow] = []
        self._ordinal = -1
        self._start = self._first = 0
        self._last: int | None = None
        self._before = 0  # the step before the last
        self._spacing = 1  # of the last steps before they fell
        self._waiting: int | None = None  # the first of the late rows that stand directly before
        self._is_mixed = False

    def add(self, line: int, step: int, row: Mapping[str, Any]) -> None:
        self._ordinal += 1
        if is_late(row, step, self._last):
            if len(self.late) < MOST_LATE:
                self.late.append(LateRow(self._ordinal, line, step, row))
            self._waiting = self._ordinal if self._waiting is None else self._waiting
            return
        if self._last is None:
            self._first = step
        elif step < self._last:
            # A job that is resumed may evaluate first.
            self._spacing = max(self._last - self._before, 1)
            self.sessions.append(_Session(self._start, self._first, self._last))
            self._start = self._ordinal if self._waiting is None else self._waiting
            self._first = step
        elif self._last == self._first and self._is_stray(step):
            self._is_mixed = True
        self._before, self._last = self._first if self._last is None else self._last, step
        self._waiting = None

    def _is_stray(self, step: int) -> bool:
        """Whether the row before fell back, and this one goes on as if it had not."""
        if not self.sessions or step == self._first:
            return False
        last = self.sessions[-1].last
        return step > last and last - self._first >= 2 * self._spacing

    def in_order(self) -> list[_Session] | None:
        """The stretches, if they can be those of jobs; None if the log is out of order."""
        if self._last is None:
            return []
        sessions = [*self.sessions, _Session(self._start, self._first, self._last)]
        falls = len(self.sessions)
        if falls > _MOST_FALLS or falls > max(1, _MOST_OF_ROWS * self._ordinal) or self._is_mixed:
            return None
        # A job that dies after one step is resumed there; a log that begins with one is none of rising steps.
        return None if falls and sessions[0].last == sessions[0].first else sessions


def _runs(sessions: list[_Session]) -> list[list[_Session]]:
    runs: list[list[_Session]] = []
    for session in sessions:
        # From its beginning, or from before it: another run, or this one once more from nothing.
        if not runs or session.first <= runs[-1][0].first:
            runs.append([])
        runs[-1].append(session)
    return runs


def _checked(log: str, sessions: list[_Session] | None, run: int | None, late: list[LateRow]) -> Selection | None:
    runs = _runs(sessions or [])
    known = max(len(runs), 1)
    if run is not None and not 1 <= run <= known:
        raise LogError(f"{log}: there is no run {run} in this log: it has {known}")
    if not sessions or (len(sessions) == 1 and not late):
        return None
    number = known if run is None else run
    stop = runs[number][0].start if number < known else None
    return Selection(runs[number - 1], stop, number, known, late, run is not None)


def _step(row: LateRow) -> int:
    return row.step
