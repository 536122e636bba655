"""Follows a run from outside the job: what ``pretrain-monitor watch`` does."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from .config import ConsoleConfig, NotifyConfig
from .printable import clean, shorten, shown_path
from .readers import LogError
from .records import RunLogTail, event_of
from .rundir import FILE_NAME
from .sinks.console import ConsoleSink
from .watch_messages import Messenger


def follow(path: Path, *, once: bool, every_s: float, messages: NotifyConfig | None = None) -> None:
    """Print every alert of a run as it is written, until the run ends.

    Args:
        path: a run directory, or its ``run.jsonl``.
        once: print what is there and return.
        every_s: seconds between two looks.
        messages: where else to tell of them, and of a run that no longer does anything.

    Raises:
        LogError: no run log there, or it cannot be read, or it is gone.
        ConfigError: an address that messages cannot be sent to.
    """
    log = _run_log(path)
    messenger = Messenger(messages, log.parent) if messages is not None and messages.urls else None
    try:
        _follow(log, messenger, once=once, every_s=every_s)
    finally:
        if messenger is not None:
            messenger.close()


def _follow(log: Path, messenger: Messenger | None, *, once: bool, every_s: float) -> None:
    screen = _Screen(log)
    tail = RunLogTail(log)
    restarts = 0
    is_run_log = False
    while True:
        records = _poll(tail)
        if tail.restarts > restarts:
            restarts = tail.restarts
            screen = _Screen(log)
            _say(f"{shown_path(log)} was replaced or cut off; reading it from its beginning")
        is_run_log = is_run_log or bool(records)
        if tail.offset and not is_run_log:
            raise LogError(f"{shown_path(log)}: not a run log; `pretrain-monitor replay` reads CSV and JSONL logs")
        is_over = screen.show(records, has_unreadable=tail.unreadable > 0)
        if messenger is not None:
            messenger.tell(records, ended=screen.ended)
        if once or is_over:
            print(screen.last_line())
            return
        sys.stdout.flush()
        time.sleep(every_s)


class _Screen:
    """What has been shown of one run."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._sink = ConsoleSink(ConsoleConfig(summary=False), None)
        self._step: int | None = None
        self.ended: str | None = None  # why, once the run is over
        self._has_passed_over = False

    def show(self, records: list[dict[str, Any]], *, has_unreadable: bool) -> bool:
        """Tell the alerts among new records; whether the run is over now.

        Args:
            has_unreadable: there have been lines that were no records.
        """
        if has_unreadable:
            self._pass_over()
        for record in records:
            self._step = record.get("step", self._step)
            # A run that ended and was resumed in the same batch of records is not over.
            if record["type"] == "run":
                self.ended = None
            elif record["type"] == "end":
                self.ended = shorten(record.get("reason") or "ended, no reason is given", 200)
            elif record["type"] == "event":
                self._show_event(record)
        return self.ended is not None

    def last_line(self) -> str:
        if self._step is None:
            return clean(f"{shown_path(self._log)}: no samples yet")
        return f"step {self._step:,}: {self.ended or 'still open'}"

    def _show_event(self, record: dict[str, Any]) -> None:
        event = event_of(record)
        if event is not None:
            self._sink.on_event(event)
        else:
            self._pass_over()

    def _pass_over(self) -> None:
        if not self._has_passed_over:
            self._has_passed_over = True
            _say(
                f"{shown_path(self._log)}: passing over what this version cannot read: lines that are damaged, as when "
                "a run is killed, or written by a newer one"
            )


def _run_log(path: Path) -> Path:
    try:
        log = path / FILE_NAME if path.is_dir() else path
        if log.is_file():
            return log
        is_there = log.exists() or str(log) == "-"
    except OSError as error:
        raise LogError(f"{shown_path(path)}: cannot be read: {error.strerror}") from None
    if is_there:
        raise LogError(f"{shown_path(log)}: only a regular file can be watched; `pretrain-monitor replay` reads pipes")
    raise LogError(f"{shown_path(log)}: no run log there (yet)")


def _poll(tail: RunLogTail) -> list[dict[str, Any]]:
    try:
        records = tail.poll()
        if not records and not tail.path.exists():
            raise LogError(f"{shown_path(tail.path)}: the run log is gone")
    except OSError as error:
        raise LogError(f"{shown_path(tail.path)}: cannot be read: {error.strerror}") from None
    return records


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
