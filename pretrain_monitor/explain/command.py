"""``pretrain-monitor explain``: read a log twice, find the incident, draw it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from ..config import MonitorConfig
from ..incident_table import print_table
from ..printable import clean, shorten, shown_path
from ..readers import LogError, read_run
from ..screen import Screen
from ..sinks.wording import worst
from ..telemetry import Sample
from .errors import ExplainError
from .finding import find
from .outputs import Output
from .runfiles import ids_told
from .scene import explain
from .survey import Survey, survey
from .terminal import print_explanation


def explain_run(path: Path, asked: str | None, settings: MonitorConfig, outputs: list[Output]) -> None:
    """Print why an incident of a run was told, and write the picture to files; without an id, print which there are.

    Args:
        asked: id of the incident, or a step.

    Raises:
        LogError: the log cannot be read.
        ExplainError: there is no such incident.
    """
    found = survey(_samples(path), settings)
    if asked is None and len(found.incidents) != 1:
        _list(path, found, outputs)
        return
    _warn_of_others(path, found, asked)
    choice = find(found.incidents, asked if asked is not None else found.incidents[0].id)
    if choice.remark:
        print(f"{choice.remark} ({clean(choice.incident.id)})", file=sys.stderr)
    explanation = explain(_samples(path), choice.incident, found, settings)
    # First, for whoever reads the terminal may stop at the first page.
    for output in outputs:
        output.write(explanation, output.path)
    print_explanation(explanation, Screen())
    for output in outputs:
        print(f"written: {shown_path(output.path)}")


def _samples(path: Path) -> Iterator[Sample]:
    """The samples of a log, with its own word for steps that go backwards."""
    last = None
    for sample in read_run(path):
        if last is not None and sample.step < last:
            raise LogError(f"{shown_path(path)}: steps go backwards: {sample.step} after {last}")
        last = sample.step
        yield sample


def _list(path: Path, found: Survey, outputs: list[Output]) -> None:
    if not found.incidents:
        what = "no incidents" if found.samples else "no samples yet"
        print(f"{shown_path(path)}: {what}")
    else:
        print_table(found.incidents)
        example = worst(found.incidents).id
        print(f"choose one: pretrain-monitor explain {shlex.quote(str(path))} {shlex.quote(example)}")
    if outputs:
        raise ExplainError("nothing is drawn: say which incident" if found.incidents else "nothing to draw")


def _warn_of_others(path: Path, found: Survey, asked: str | None) -> None:
    """Say so if the run was told of other incidents than these, as under other settings."""
    told = ids_told(path)
    if told is None:
        return
    here = {incident.id for incident in found.incidents}
    parts = [f"{word} {_some(ids, asked)}" for word, ids in (("without", told - here), ("with", here - told)) if ids]
    if parts:
        reason = "it was watched with other settings or by another version"
        print(f"not the incidents of the run log: {' and '.join(parts)}; {reason}", file=sys.stderr)


def _some(ids: set[str], asked: str | None) -> str:
    """A few of many ids, the one that was asked for first."""
    ordered = sorted(ids, key=lambda identity: (identity != asked, identity))
    return ", ".join(shorten(identity, 40) for identity in ordered[:3]) + (" ..." if len(ids) > 3 else "")
