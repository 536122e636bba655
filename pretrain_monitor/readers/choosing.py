"""One of several runs that are kept in one place: the last, or the one that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..printable import shorten
from .errors import NoRunError
from .notes import ReadNotes

_MOST_NAMED = 5


def choose(log: str, names: Sequence[str], run: str | None, notes: ReadNotes | None = None) -> int:
    """Index of the run that is meant by a number from 1 on, a name or the beginning of one; None: the last.

    Args:
        names: of the runs, oldest first; several may have the same.
        notes: told of the others.

    Raises:
        NoRunError: there is none, or no such one.
    """
    if not names:
        raise NoRunError(f"{log}: there is no run in it")
    at = len(names) - 1 if run is None else _found(log, names, run)
    if notes is not None and len(names) > 1:
        name = shorten(names[at], 60)
        notes.say(
            log,
            f"{len(names)} runs in it; this is number {at + 1}, {name}: "
            f"give {log}#1 to {log}#{len(names)}, or {log}#NAME, for another",
            is_warning=run is None,
        )
    return at


def _found(log: str, names: Sequence[str], run: str) -> int:
    if run.isdecimal() and 1 <= int(run) <= len(names):
        return int(run) - 1
    for matches in (
        [at for at, name in enumerate(names) if name == run],
        [at for at, name in enumerate(names) if name.startswith(run)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise NoRunError(
                f"{log}: more than one run {shorten(run, 40)}: numbers {_listed(at + 1 for at in matches)}"
            )
    raise NoRunError(f"{log}: no run {shorten(run, 40)}; there are {_listed(names[-_MOST_NAMED:])}")


def _listed(things: Iterable[object]) -> str:
    return ", ".join(shorten(thing, 40) for thing in list(things)[:_MOST_NAMED])
