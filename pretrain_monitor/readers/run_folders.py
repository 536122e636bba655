"""Directories that hold the runs of one program side by side, each in a place of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..printable import shown_path
from .choosing import choose
from .errors import LogError
from .mlflow_store import is_run
from .notes import ReadNotes

LIGHTNING = "metrics.csv"
_START = re.compile(r"^start_time: (\d+)", re.MULTILINE)
_NAME = re.compile(r"^run_name: '?(.+?)'?$", re.MULTILINE)
_DELETED = "lifecycle_stage: deleted"
_MOST_RUNS = 10_000


class _Run(NamedTuple):
    """One of them; they are sorted by what comes first."""

    age: tuple[int, str]
    name: str
    path: Path


def run_in_folder(folder: Path, run: str | None, notes: ReadNotes) -> Path | None:
    """The run that is meant: file of W&B, directory of MLflow, table of Lightning; None if there are none of these.

    Args:
        run: its number, its name or the beginning of that; None: the newest.
        notes: told of the others.

    Raises:
        LogError: there is no such run, or the directory cannot be read.
    """
    try:
        found = sorted(_of_wandb(folder)) or sorted(_of_mlflow(folder)) or sorted(_of_lightning(folder))
    except OSError as error:
        raise LogError(f"{shown_path(folder)}: cannot be read: {error.strerror or error}") from None
    if not found:
        return None
    return found[choose(shown_path(folder), [one.name for one in found], run, notes)].path


def _of_wandb(folder: Path) -> Iterator[_Run]:
    """In the directory of one run, or that of all; their names begin with the time."""
    for path in _some(folder, "run-*.wandb", "run-*/run-*.wandb", "offline-run-*/run-*.wandb"):
        started = path.parent.name.removeprefix("offline-") if path.parent != folder else ""
        yield _Run((0, started), path.stem.removeprefix("run-"), path)


def _of_mlflow(folder: Path) -> Iterator[_Run]:
    """In the directory of an experiment, or in ``mlruns``."""
    for facts in _some(folder, "*/meta.yaml", "*/*/meta.yaml"):
        if not is_run(facts.parent):
            continue
        text = facts.read_text(encoding="utf-8", errors="replace")
        if _DELETED not in text:
            start, name = _START.search(text), _NAME.search(text)
            age = int(start[1]) if start is not None else 0
            yield _Run((age, facts.parent.name), name[1] if name is not None else facts.parent.name, facts.parent)


def _of_lightning(folder: Path) -> Iterator[_Run]:
    """In the directory of its logger, or in that of the program."""
    for path in _some(folder, f"version_*/{LIGHTNING}", f"lightning_logs/version_*/{LIGHTNING}"):
        digits = path.parent.name.removeprefix("version_")
        yield _Run((int(digits) if digits.isdecimal() else 0, path.parent.name), path.parent.name, path)


def _some(folder: Path, *patterns: str) -> Iterator[Path]:
    """Files of such names, and never a search through a whole disk."""
    left = _MOST_RUNS
    for pattern in patterns:
        for path in folder.glob(pattern):
            left -= 1
            if left < 0:
                return
            if path.is_file():
                yield path
