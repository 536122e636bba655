"""Any readable log -> samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..runlog import FILE_NAME, read_samples
from ..telemetry import Sample
from .generic import LogError, first_text_line, read_csv, read_jsonl


def read_run(path: str | Path) -> Iterator[Sample]:
    """Samples of a run, oldest first, superseded steps already dropped.

    Args:
        path: a run directory, its ``run.jsonl``, or a CSV or JSONL file with step, loss and any other signal.

    Raises:
        LogError: no such log, not readable, not text, no loss, steps that go backwards; one line for the user.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
        if not path.is_file():
            raise LogError(f"{path.parent}: no {FILE_NAME} in this directory, so it is no run directory")
        return read_samples(path)
    first = first_text_line(path)
    if first.startswith("{"):
        if first.startswith('{"type":"run"'):
            return read_samples(path)
        return read_jsonl(path)
    return read_csv(path)
