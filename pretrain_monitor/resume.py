"""Brings a fresh detector to where it was at a step, from the run log alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from .announcing import Announcements
from .detection.detector import STATE_VERSION, InstabilityDetector
from .records import RunLogIndex, announcement_of, event_of, read_records, record_of, samples_in
from .telemetry import Incident, Sample

logger = logging.getLogger(__name__)


def restore(detector: InstabilityDetector, path: Path, step: int, announced: Announcements) -> Sample | None:
    """The last sample at or before ``step``, with ``detector`` in the state it had then.

    Loads the last snapshot at or before ``step`` and replays the samples after it.

    The state is a pure function of the samples, so this is exact. A snapshot made under other detection settings, or
    by a version with other rules, cannot be used; then everything is replayed, which takes about a minute per million
    steps.

    Args:
        announced: is given what was announced by then and is still to be carried by a sample.
    """
    last = None
    index = RunLogIndex.of(path)
    start = index.last_snapshot(step)
    if start and not _load(detector, path, index, start):
        logger.info("%s: detection settings or rules have changed; replaying the run from its start", path)
        start = 0
    if start:
        _announced_before(path, index, start, announced)
    records = (r for r in read_records(path, start=start, index=index) if r.get("step", 0) <= step)
    for sample in samples_in(path, records, announced):
        last = sample
        detector.update(last)
    return last


def _load(detector: InstabilityDetector, path: Path, index: RunLogIndex, start: int) -> bool:
    with path.open("rb") as file:
        file.seek(start)
        snapshot = json.loads(file.readline())
    if snapshot["key"] != detector.config.detection_key() or snapshot["state"].get("version") != STATE_VERSION:
        return False
    detector.load_state_dict(snapshot["state"], _incidents_before(path, index, start))
    return True


def _incidents_before(path: Path, index: RunLogIndex, stop: int) -> list[Incident]:
    latest: dict[str, Incident] = {}
    with path.open("rb") as file:
        for offset in index.events:
            if offset >= stop:
                break
            file.seek(offset)
            record = record_of(file.readline())
            event = None if record is None else event_of(record)
            if event is not None and not index.is_superseded(offset, event.step):
                latest[event.incident_id] = event.incident
    return list(latest.values())


def _announced_before(path: Path, index: RunLogIndex, snapshot: int, announced: Announcements) -> None:
    """What stands before a snapshot and is carried by a sample after it: samples are late at times, words are not."""
    made_at = dict(index.snapshots)[snapshot]
    with path.open("rb") as file:
        for offset, step in index.announcements:
            if offset < snapshot and step >= made_at and not index.is_superseded(offset, step):
                file.seek(offset)
                record = record_of(file.readline())
                said = None if record is None else announcement_of(record)
                if said is not None:
                    announced.add(said)
