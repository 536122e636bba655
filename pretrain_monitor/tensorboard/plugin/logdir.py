"""Which runs a log directory holds: ours by their run log, those of others by their event files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from ...rundir import FILE_NAME

_MOST_DIRECTORIES = 20_000
_DEEPEST = 12
_MOST_RUNS = 1000
EVENTS = ".tfevents."
_SKIPPED = frozenset({".git", "__pycache__", "node_modules", ".venv"})


class RunKind(StrEnum):
    """How a run was recorded."""

    LOG = "log"
    EVENTS = "events"


class FoundRun(NamedTuple):
    """A run and where it is: the run log, or the directory with its event files."""

    kind: RunKind
    path: Path


def roots_of(logdir: str, logdir_spec: str = "") -> dict[str, Path]:
    """The directories that TensorBoard was started on, each with the prefix of its runs' names.

    >>> roots_of("", "a:/x,b:/y")
    {'a': PosixPath('/x'), 'b': PosixPath('/y')}
    """
    if not logdir_spec:
        return {"": Path(logdir).expanduser()} if logdir else {}
    roots = {}
    for number, part in enumerate(part for part in logdir_spec.split(",") if part):
        name, colon, path = part.partition(":")
        if not colon or path.startswith("//"):  # a scheme such as gs://
            name, path = f"{number + 1}", part
        roots[name] = Path(path).expanduser()
    return roots


def find_runs(roots: Mapping[str, Path]) -> dict[str, FoundRun]:
    """Every run below the roots, by its path below them; never raises.

    Event files below a directory with a run log belong to that run; our own ``alerts`` beside event files are no run.
    """
    found: dict[str, FoundRun] = {}
    for prefix, root in roots.items():
        _search(root, prefix, found)
    return dict(sorted(found.items()))


def _search(root: Path, prefix: str, found: dict[str, FoundRun]) -> None:
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[Path, str, int, bool]] = [(root, prefix, 0, False)]
    while waiting and len(seen) < _MOST_DIRECTORIES and len(found) < _MOST_RUNS:
        directory, name, depth, has_events_above = waiting.pop()
        try:
            # People link runs into a log directory; a link that leads back up would go on for ever.
            facts = directory.stat()
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            entries = list(os.scandir(directory))
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if FILE_NAME in names and (directory / FILE_NAME).is_file():
            found[name or "."] = FoundRun(RunKind.LOG, directory / FILE_NAME)
            # Nested runs have a log of their own; event files below are this run's.
            _add_children(waiting, entries, name, depth, True)
            continue
        has_events = any(EVENTS in entry for entry in names)
        if has_events and not has_events_above:
            found[name or "."] = FoundRun(RunKind.EVENTS, directory)
        _add_children(waiting, entries, name, depth, has_events_above)


def _add_children(
    waiting: list[tuple[Path, str, int, bool]],
    entries: list[os.DirEntry[str]],
    name: str,
    depth: int,
    has_events_above: bool,
) -> None:
    if depth >= _DEEPEST:
        return
    holds_events = any(EVENTS in entry.name for entry in entries)
    for entry in entries:
        try:
            if not entry.is_dir() or entry.name in _SKIPPED:
                continue
        except OSError:
            continue
        is_ours = has_events_above or (holds_events and entry.name == "alerts")
        waiting.append((Path(entry.path), f"{name}/{entry.name}" if name else entry.name, depth + 1, is_ours))
