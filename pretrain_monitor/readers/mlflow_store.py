"""Runs that MLflow keeps as directories, with a file for each metric."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..printable import shorten, shown_path
from .columns import NamedRows
from .errors import LogError

FOLDER = "metrics"


def is_run(folder: Path) -> bool:
    """Whether a directory is a run in MLflow's file store."""
    return (folder / FOLDER).is_dir() and (folder / "meta.yaml").is_file()


def run_rows(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The metrics of a run, by step; each file has lines of time in ms, value and step.

    Raises:
        LogError: a line of another form, no loss.
    """
    base = folder / FOLDER
    files = sorted(path for path in base.rglob("*") if path.is_file())
    streams = [_values(path, path.relative_to(base).as_posix()) for path in files]
    rows = NamedRows(shown_path(folder))
    for number, (step, name, value) in enumerate(heapq.merge(*streams, key=lambda entry: entry[0]), 1):
        yield number, rows.row({"step": step, name: value}, f"value {number}")
    rows.check("the metrics are")


def _values(path: Path, name: str) -> Iterator[tuple[int, str, float]]:
    """Of one metric in the order of steps: a resumed run writes behind what was there."""
    found = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                _, value, step = line.split()
                found.append((int(step), name, float(value)))
            except ValueError:
                raise LogError(
                    f"{shown_path(path)}: line {number} is no time, value and step: {shorten(repr(line.strip()), 62)}"
                ) from None
    # The last value of a step is the one that counts.
    return iter(sorted(found, key=lambda entry: entry[0]))
