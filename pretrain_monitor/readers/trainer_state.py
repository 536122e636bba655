"""``trainer_state.json`` of the Hugging Face Trainer: one JSON document, whose ``log_history`` may be long."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..printable import shorten
from .columns import NamedRows
from .errors import LogError
from .jsonl import DECODER, DuplicateKeyError
from .notes import ReadNotes
from .source import LogSource

STATE = "trainer_state.json"
_HISTORY = re.compile(r'"log_history"\s*:\s*')
_CHUNK_BYTES = 1 << 16
_LARGEST_ENTRY = 1 << 20  # characters; an entry holds the numbers of one step
_SUMMARY = "train_runtime"  # in the last entry: means over the whole training, which are no step


def is_trainer_state(first_line: str, path: Path) -> bool:
    """Whether a log is one JSON document, and not one in each line."""
    return first_line == "{" or (first_line.startswith("{") and path.name.removesuffix(".gz") == STATE)


def state_rows(source: LogSource, notes: ReadNotes | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """One entry after the other, without holding the document in memory.

    The loss of an entry is the mean over the steps since the one before; where these are several it is said once.

    Raises:
        LogError: not the state of a trainer, cut off, an entry that is none, no loss.
    """
    rows = NamedRows(source.name)
    last: int | None = None
    is_told = False
    for number, entry in enumerate(_entries(source), 1):
        if _SUMMARY in entry:
            continue
        row = rows.row(entry, f"entry {number} of log_history")
        if "loss" in row and type(step := row.get("step")) is int:
            if last is not None and step - last > 1 and not is_told and notes is not None:
                is_told = True
                many = step - last
                notes.say(
                    source.name,
                    f"each loss is a mean over {many} steps (logging_steps): a spike of one step is a {many}th of its "
                    "size here, and steps are told only so exactly",
                )
            last = step
        yield number, row
    rows.check("the entries have")


def _entries(source: LogSource) -> Iterator[dict[str, Any]]:
    text = _Text(source)
    if not text.skip_to(_HISTORY):
        raise LogError(f"{source.name}: one JSON document over many lines, and no {STATE}; write one object a line")
    if not text.take("["):
        raise LogError(f"{source.name}: its log_history is no list: not a {STATE}")
    if text.take("]"):
        raise LogError(f"{source.name}: its log_history is empty: nothing has been logged")
    number = 0
    while True:
        number += 1
        yield text.object(f"{source.name}: entry {number} of log_history")
        if text.take("]"):
            return
        if not text.take(","):
            raise LogError(f"{source.name}: cut off or damaged after entry {number} of log_history")


class _Text:
    """A document of which a little is held at a time."""

    def __init__(self, source: LogSource) -> None:
        self._file: BinaryIO = source.seekable()
        self._name = source.name
        self._held = ""
        self._bytes = b""

    def skip_to(self, pattern: re.Pattern[str]) -> bool:
        """Past the first match; whether there is one."""
        while True:
            if (found := pattern.search(self._held)) and found.end() < len(self._held):
                self._held = self._held[found.end() :]
                return True
            self._held = self._held[-1000:]
            if not self._more():
                return False

    def take(self, character: str) -> bool:
        """Past white space and the character, if that comes next."""
        while not (held := self._held.lstrip()) and self._more():
            pass
        self._held = held
        if not held.startswith(character):
            return False
        self._held = held[1:]
        return True

    def object(self, where: str) -> dict[str, Any]:
        """The JSON object that comes next."""
        self.take("\0")  # white space
        while True:
            try:
                value, end = DECODER.raw_decode(self._held)
            except DuplicateKeyError as error:
                raise LogError(f"{where} has {shorten(error, 60)} twice") from None
            except (json.JSONDecodeError, RecursionError):
                if len(self._held) < _LARGEST_ENTRY and self._more():
                    continue
                raise LogError(f"{where} is cut off or not JSON: {shorten(repr(self._held[:80]), 62)}") from None
            if not isinstance(value, dict):
                raise LogError(f"{where} is not a JSON object: {shorten(repr(value), 62)}")
            self._held = self._held[end:]
            return value

    def _more(self) -> bool:
        chunk = self._file.read(_CHUNK_BYTES)
        if not chunk:
            return False
        # A chunk may end within a character.
        self._bytes += chunk
        try:
            self._held += self._bytes.decode()
            self._bytes = b""
        except UnicodeDecodeError as error:
            if error.start < len(self._bytes) - 3:
                raise LogError(f"{self._name} is not UTF-8 text") from None
            self._held += self._bytes[: error.start].decode()
            self._bytes = self._bytes[error.start :]
        return True
