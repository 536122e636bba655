"""JSON lines: one object a line, with a step and a loss at the top level or under ``metrics``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..printable import shorten
from .columns import NamedRows
from .errors import LogError
from .notes import ReadNotes
from .source import LogSource


def jsonl_rows(source: LogSource, notes: ReadNotes | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines without a loss are legal (evaluations); a log without any is not.

    Args:
        notes: told of a last line that breaks off, which is left out.

    Raises:
        LogError: on the way, at the line that cannot be read; at the end, if there was no step or no loss.
    """
    rows = NamedRows(source.name)
    is_first = True
    for line in source:
        if not line.strip():
            continue
        try:
            record = _record(source, line)
        except LogError:
            if is_first or not source.is_cut_off:
                raise
            if notes is not None:
                notes.say_cut_off(source.name)
            break
        is_first = False
        yield source.line_number, rows.row(record, f"line {source.line_number}")
    rows.check("the lines have")


def _record(source: LogSource, line: str) -> dict[str, Any]:
    try:
        record = DECODER.decode(line)
    except DuplicateKeyError as error:
        raise LogError(f"{source.name}: line {source.line_number} has {shorten(error, 60)} twice") from None
    except (ValueError, RecursionError):
        where = f"{source.name}: line {source.line_number}"
        if source.line_number == 1 and line.strip() in ("{", "["):
            raise LogError(f"{where}: one JSON document over many lines; write one object a line") from None
        raise LogError(f"{where} is not JSON: {_quoted(line)}") from None
    if not isinstance(record, dict):
        raise LogError(f"{source.name}: line {source.line_number} is not a JSON object: {_quoted(line)}")
    metrics = record.get("metrics")
    if isinstance(metrics, Mapping):
        del record["metrics"]
        if both := record.keys() & metrics.keys():
            name = shorten(repr(min(both)), 60)
            raise LogError(f"{source.name}: line {source.line_number} has {name} twice, once under metrics")
        record.update(metrics)
    return record


class DuplicateKeyError(ValueError):
    """A key that an object has twice; JSON does not say which of the two counts."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        raise DuplicateKeyError(repr(next(key for key in keys if keys.count(key) > 1)))
    return record


def _float(text: str) -> float | str:
    # Left as text, 1e400 is refused with its line and name; as a float it would be an infinite loss.
    value = float(text)
    return text if math.isinf(value) else value


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float)


def _quoted(line: str) -> str:
    return shorten(repr(line.strip()), 62)
