"""Runs that W&B keeps on disk, ``run-*.wandb``: records of protobuf in the blocks of a LevelDB log.

Taken apart by hand: of the many fields of a record three are needed, and W&B has no reader in Python.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from .columns import NamedRows
from .errors import LogError
from .jsonl import DECODER
from .notes import ReadNotes
from .source import LogSource

MAGIC = b":W&B"
_FILE_HEAD = 7  # the letters, two bytes that are always the same, a version
_BLOCK = 32768
_HEAD = struct.Struct("<IHB")  # checksum, length, which part of a record it is
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_LONGEST = 64 << 20  # a record; one of history holds the values of one step

# Numbers of fields: of a record, of its history, of one value in that.
_HISTORY, _ITEM, _KEY, _NESTED_KEY, _INTEGER, _NUMBER, _JSON = 2, 1, 1, 2, 5, 6, 16


def wandb_rows(source: LogSource, notes: ReadNotes | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """What was logged in each call, numbered from 1.

    Args:
        notes: told whether the file is cut off or damaged.

    Raises:
        LogError: there is no step or no loss.
    """
    rows = NamedRows(source.name)
    records = _Records(source.seekable())
    number = 0
    for record in records:
        try:
            values = _history(record)
        except (ValueError, IndexError, struct.error, RecursionError):
            records.is_damaged = True
            break
        if values:
            number += 1
            yield number, rows.row(values, f"row {number}")
    if records.is_damaged and notes is not None:
        notes.say(source.name, f"damaged or cut off after row {number}: what comes behind it is left out")
    if not number:
        raise LogError(f"{source.name}: a run of W&B in which nothing was logged")
    rows.check("the history has")


class _Records:
    """The records of a file; a part of one at the end, which may be being written, is left out."""

    def __init__(self, file: BinaryIO) -> None:
        self.is_damaged = False
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        held = bytearray()
        is_open = False
        at = _FILE_HEAD
        while block := self._file.read(_BLOCK):
            while at + _HEAD.size <= len(block):
                _, length, kind = _HEAD.unpack_from(block, at)
                if kind == 0:
                    break  # the rest of the block is empty
                part = block[at + _HEAD.size : at + _HEAD.size + length]
                at += _HEAD.size + length
                is_begun = kind in (_WHOLE, _FIRST)
                if len(part) < length or is_begun == is_open or kind > _LAST or len(held) > _LONGEST:
                    self.is_damaged = True
                    return
                held += part
                is_open = kind in (_FIRST, _MIDDLE)
                if not is_open:
                    yield bytes(held)
                    held.clear()
            at = 0
        self.is_damaged = is_open


def _history(record: bytes) -> dict[str, Any]:
    """The numbers that a record of history holds by name; nothing for any other record."""
    values: dict[str, Any] = {}
    for field, history in _fields(record):
        if field == _HISTORY and isinstance(history, bytes):
            for inner, item in _fields(history):
                if inner == _ITEM and isinstance(item, bytes):
                    name, value = _item(item)
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        values[name] = value
    return values


def _item(item: bytes) -> tuple[str, Any]:
    key, nested, value = "", [], None
    for field, content in _fields(item):
        if isinstance(content, int):
            if field == _INTEGER:
                value = content >> 1 if content % 2 == 0 else -(content >> 1) - 1
            elif field == _NUMBER:
                (value,) = struct.unpack("<d", content.to_bytes(8, "little"))
        elif field == _KEY:
            key = content.decode()
        elif field == _NESTED_KEY:
            nested.append(content.decode())
        elif field == _JSON:
            value = DECODER.decode(content.decode())
    return key or ".".join(nested), value


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and content of each field of a protobuf message: bytes, or a number as it is spelled.

    Raises:
        ValueError: it is none.
        IndexError: it is cut off.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"no kind of field: {kind}")
        content = message[at : at + length]
        at += length
        if at > len(message):
            raise IndexError("cut off")
        yield tag >> 3, content if kind == 2 else int.from_bytes(content, "little")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("no number")
