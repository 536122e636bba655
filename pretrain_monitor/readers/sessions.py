"""Several runs, or one that was resumed, in one log: found by steps that fall, in a reading ahead of the real one."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .cells import CellError, is_empty, step_number
from .errors import LogError
from .notes import ReadNotes

# More often nobody restarts a job: two processes write one log, or it is no log in the order of time.
_MOST_FALLS = 200
_MOST_OF_ROWS = 0.1


class _Session(NamedTuple):
    """A stretch of rows with rising steps."""

    start: int  # ordinal number of its first row with a step
    first: int  # step
    last: int


class Selection:
    """Which rows of a log are the run that was asked for, and have not been given up.

    Args:
        sessions: of that run, in the order of the log.
        stop: ordinal number of the first row behind them; None: there are no more.
        run: number of the run, counted from 1, of ``runs``.
    """

    def __init__(self, sessions: list[_Session], stop: int | None, run: int, runs: int) -> None:
        self.run, self.runs = run, runs
        self.resumed_after = [session.first - 1 for session in sessions[1:]]
        self.given_up = 0
        self._starts = [session.start for session in sessions]
        self._stop = stop
        # A row is void if any later session begins at its step or before.
        self._void_from = [
            min((later.first for later in sessions[at + 1 :]), default=None) for at in range(len(sessions))
        ]

    def takes(self, ordinal: int, step: int) -> bool:
        """Whether a row counts, by its number among those with a step."""
        if ordinal < self._starts[0] or (self._stop is not None and ordinal >= self._stop):
            return False
        limit = self._void_from[bisect.bisect_right(self._starts, ordinal) - 1]
        if limit is not None and step >= limit:
            self.given_up += 1
            return False
        return True

    def tell(self, log: str, notes: ReadNotes) -> None:
        """What was chosen and what was left out, once all has been read."""
        notes.resumed_after += self.resumed_after
        if self.runs > 1:
            notes.say(
                log,
                f"{self.runs} runs one after the other; this is number {self.run}: "
                f"give {log}#1 to {log}#{self.runs} for another",
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
    sessions: list[_Session] = []
    ordinal = -1
    start = first = last = 0
    try:
        for _, row in rows:
            if is_empty(row.get("step")):
                continue
            step = step_number(row["step"])
            ordinal += 1
            if ordinal == 0:
                first = last = step
            elif step < last:
                sessions.append(_Session(start, first, last))
                start, first, last = ordinal, step, step
                if len(sessions) > _MOST_FALLS:
                    return _checked(log, None, run)
            else:
                last = step
    except (CellError, LogError):
        pass  # the real reading says it, at its place
    if ordinal < 0:
        return _checked(log, None, run)
    sessions.append(_Session(start, first, last))
    # A single row is no session, nor are many short ones: the log is out of order, or two processes write it by turns.
    falls = len(sessions) - 1
    if falls and (falls > max(1, _MOST_OF_ROWS * ordinal) or any(one.last == one.first for one in sessions)):
        return _checked(log, None, run)
    return _checked(log, _runs(sessions), run)


def _runs(sessions: list[_Session]) -> list[list[_Session]]:
    runs: list[list[_Session]] = []
    for session in sessions:
        # From its beginning, or from before it: another run, or this one once more from nothing.
        if not runs or session.first <= runs[-1][0].first:
            runs.append([])
        runs[-1].append(session)
    return runs


def _checked(log: str, runs: list[list[_Session]] | None, run: int | None) -> Selection | None:
    known = 1 if runs is None else len(runs)
    if run is not None and not 1 <= run <= known:
        raise LogError(f"{log}: there is no run {run} in this log: it has {known}")
    if runs is None or (known == 1 and len(runs[0]) == 1):
        return None
    number = known if run is None else run
    stop = runs[number][0].start if number < known else None
    return Selection(runs[number - 1], stop, number, known)
