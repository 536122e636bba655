"""What has been sent about a run, kept beside its log: a restarted run does not tell it again."""

from __future__ import annotations

import json
import logging
import threading
import time as clock
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..telemetry import Incident, Status
from .messages import Message

logger = logging.getLogger(__name__)

FILE_NAME = "notified.jsonl"
WATCH_FILE_NAME = "notified-by-watch.jsonl"

_BROKEN = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


class Delivered:
    """Which messages have arrived where. Safe to be used by several threads.

    Args:
        path: None keeps it in memory.
        is_fresh: the run begins from its first step: what was sent of another run in this directory does not count.
    """

    def __init__(self, path: Path | None, *, is_fresh: bool) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._keys: set[tuple[str, str]] = set()
        self._has_failed = False
        self.open_incidents: dict[str, Incident] = {}  # told, and not yet told to be over
        for record in () if path is None or is_fresh else _records(path):
            try:
                if "forget" in record:
                    self._drop(record["forget"])
                else:
                    self._take(record["to"], record["key"], record.get("incident"))
            except _BROKEN:
                continue  # somebody else's line
        if path is not None and is_fresh and path.exists():
            self._write({"began": clock.time()})

    def has(self, label: str, key: str) -> bool:
        with self._lock:
            return (label, key) in self._keys

    def add(self, label: str, message: Message) -> None:
        incident = None if message.incident is None else message.incident.to_json()
        with self._lock:
            self._take(label, message.key, incident)
            record = {"to": label, "key": message.key, "time": clock.time()}
            self._write(record if incident is None else {**record, "incident": incident})

    def forget(self, incidents: list[str]) -> None:
        """They have been undone; if the same happens again, it is told again."""
        if incidents:
            with self._lock:
                self._drop(incidents)
                self._write({"forget": incidents})

    def _drop(self, incidents: list[str]) -> None:
        self._keys = {(label, key) for label, key in self._keys if key.rpartition("/")[0] not in incidents}
        for incident in incidents:
            self.open_incidents.pop(incident, None)

    def _take(self, label: str, key: str, incident: dict[str, Any] | None) -> None:
        self._keys.add((label, key))
        if incident is not None:
            found = Incident.from_json(incident)
            if found.status is Status.OPEN:
                self.open_incidents[found.id] = found
            else:
                self.open_incidents.pop(found.id, None)

    def _write(self, record: dict[str, Any]) -> None:
        if self._path is None or self._has_failed:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")
        except OSError as error:
            self._has_failed = True
            logger.warning(
                "%s: cannot be written (%s); a restarted run may send again what was sent", self._path, error.strerror
            )


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Those since the run began."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append(record)
            if "began" in record:
                records.clear()
    yield from records
