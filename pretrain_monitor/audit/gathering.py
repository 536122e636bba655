"""A run from wherever it was logged, read whole for an audit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..announcing import Announcements
from ..config import MonitorConfig
from ..detection.detector import InstabilityDetector
from ..printable import shown_path
from ..readers import LogError, read_run
from ..readers.notes import ReadNotes
from ..resume import restore
from ..run_settings import load_own_settings, run_log
from ..telemetry import Incident, Sample, in_order
from ..viewing.content import RunContent
from ..viewing.health import is_held
from ..viewing.run_log import RunLogFollower
from ..viewing.sessions import Session
from .material import Material
from .model import RunFacts
from .models import is_results_file, rounds_of
from .smoothing import is_smoothed

_NEWEST = 2**62  # step
_LAST_ROWS = 100  # of the loss, whose median is the final one


def gather(path: Path, pattern: str | None = None) -> Material:
    """Everything that a log holds, with its incidents.

    Those of our own run log are as they were told during the run, which is what a replay of it gives; of any other log,
    and of a run that nobody ended, they are found here by the same detector.

    Args:
        pattern: as ``read_run`` takes it.

    Raises:
        LogError: the log cannot be read.
        ProbeError: a file of results cannot be read.
        ConfigError: the settings beside it cannot be used.
    """
    if is_results_file(path):
        return _of_others(path, rounds_of(path), ReadNotes("results of probes"))
    log = run_log(path)
    if log is not None and pattern is None:
        return _of_run_log(path, log)
    notes = ReadNotes()
    return _of_others(path, read_run(path, pattern=pattern, notes=notes), notes)


def _of_run_log(path: Path, log: Path) -> Material:
    follower = RunLogFollower(log)
    try:
        while follower.read(8 << 20):
            pass
    except OSError as error:
        raise LogError(f"{shown_path(log)}: cannot be read: {error.strerror or error}") from None
    content = follower.content
    if not content.samples:
        next(read_run(path), None)  # what is wrong with the log as such is said in the words of its reader
        raise LogError(f"{shown_path(path)}: no samples yet: there is nothing to audit")
    config = load_own_settings(path)
    # A run that was killed has not said what became of its open incidents; a replay says it.
    incidents = content.incidents if content.end is not None else _unfinished(log, config)
    notes = []
    if follower.passed_over:
        notes.append(
            f"{follower.passed_over:,} damaged lines of the log, or of steps that went backwards, are left out"
        )
    if content.is_thinned:
        notes.append("the run is so long that of its older part only the extremes were kept")
    facts = _facts(path, "run log", content, notes)
    limits = [session.max_grad_norm for session in content.sessions if session.max_grad_norm is not None]
    return Material(
        facts=facts,
        content=content,
        incidents=incidents,
        config=config,
        held_out=content.domains.table(incidents, content.series),
        max_grad_norm=limits[-1] if limits else None,
        is_held=is_held(log.parent),
        is_watched=True,
    )


def _unfinished(log: Path, config: MonitorConfig) -> list[Incident]:
    """As a replay gives them, from the newest snapshot on."""
    detector = InstabilityDetector(config)
    restore(detector, log, _NEWEST, Announcements())
    detector.finish()
    return in_order(detector.incidents)


def _of_others(path: Path, samples: Iterable[Sample], notes: ReadNotes) -> Material:
    config = load_own_settings(path)
    content, incidents = _watched(samples, config, path)
    content.sessions += [Session(after, None) for after in (0, *notes.resumed_after)]
    facts = _facts(path, notes.source, content, [*notes.sentences, *_of_loss(content)])
    return Material(
        facts=facts,
        content=content,
        incidents=incidents,
        config=config,
        held_out=content.domains.table(incidents, content.series),
    )


def _watched(samples: Iterable[Sample], config: MonitorConfig, path: Path) -> tuple[RunContent, list[Incident]]:
    """One pass: a log may be a pipe."""
    content, detector = RunContent(), InstabilityDetector(config)

    def judged() -> Iterator[Sample]:
        for sample in samples:
            detector.update(sample)
            yield sample

    try:
        for sample in judged():
            content.add_sample(sample)
    except ValueError as error:
        if isinstance(error, LogError):
            raise
        raise LogError(f"{shown_path(path)}: {error}") from None
    detector.finish()
    if not content.samples:
        raise LogError(f"{shown_path(path)}: no samples: there is nothing to audit")
    return content, in_order(detector.incidents)


def _of_loss(content: RunContent) -> list[str]:
    """What its values say of how the loss was logged."""
    series = content.series.get("loss")
    if series is None:
        return []
    values = series.values[np.isfinite(series.values)]
    if not is_smoothed(values):
        return []
    return ["the loss looks smoothed, as a running mean: spikes are smeared over steps, and its noise says little"]


def _facts(path: Path, source: str, content: RunContent, notes: list[str]) -> RunFacts:
    loss = content.series.get("loss")
    steps = np.empty(0, dtype=np.int64) if loss is None else loss.steps
    values = np.empty(0) if loss is None else loss.values[-_LAST_ROWS:]
    finite = values[np.isfinite(values)]
    times = content.times.values
    tokens = content.tokens.last
    return RunFacts(
        name=path.resolve().name or str(path),
        path=str(path),
        source=source,
        samples=content.samples,
        first_step=int(steps[0]) if len(steps) else content.first_step,
        last_step=int(steps[-1]) if len(steps) else content.last_step,
        interval=float(np.median(np.diff(steps))) if len(steps) > 1 else None,
        tokens_seen=None if tokens is None else int(tokens[1]),
        sessions=max(1, len(content.sessions)),
        began=_moment(times[0]) if len(times) else None,
        ended=_moment(times[-1]) if len(times) else None,
        end_reason=None if content.end is None else content.end.reason,
        final_loss=float(np.median(finite)) if len(finite) else None,
        notes=notes,
    )


def _moment(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
