"""Documents out of one file: plain text, JSON lines or Parquet."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .base import ProbeError
from .optional import imported, one_line

DEFAULT_FIELD = "text"
SPLITS = ("blank_lines", "lines")
KNOWN_ENDINGS = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".parquet")

_BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")
# Endings of files that people give and that would only fail later, as text that is none.
_CANNOT_READ = (".zst", ".bz2", ".xz", ".zip", ".tar", ".arrow", ".npy", ".bin", ".pdf", ".docx", ".json")


@dataclass(frozen=True, slots=True)
class Text:
    """One document.

    Args:
        id: where it is from, for people; the same on every machine, but two documents may share one.
    """

    id: str
    text: str


def read_file(path: Path, name: str, field: str | None, split: str | None) -> Iterator[Text]:
    """Documents in the order of the file, empty ones too.

    The text is what the bytes of the file say, Windows line ends included: a count of bytes is a count of those.

    Args:
        name: the first part of the documents' ids.
        field: of each JSON line, or the column of a Parquet file; None: ``text``.
        split: for plain text, where one document ends: at ``blank_lines`` or at each of the ``lines``; None: one
            document a file.

    Raises:
        ProbeError: it cannot be read as what its ending says.
    """
    kind = path.name.lower().removesuffix(".gz")
    is_plain = not kind.endswith((".jsonl", ".parquet"))
    if kind.endswith(_CANNOT_READ):
        raise ProbeError(f"{path}: give plain text, .jsonl, .jsonl.gz or .parquet (JSON: one object a line, .jsonl)")
    if split is not None and not is_plain:
        raise ProbeError(f"{path}: split={split!r} is for plain text; this file holds one document a row")
    if field is not None and is_plain:
        raise ProbeError(f"{path}: field={field!r} is for .jsonl and .parquet; this file is read as plain text")
    try:
        if kind.endswith(".parquet"):
            yield from _parquet(path, name, field or DEFAULT_FIELD)
            return
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            if is_plain:
                yield from _plain(stream, path, name, split)
            else:
                yield from _json_lines(stream, path, name, field or DEFAULT_FIELD)
    except (OSError, EOFError, zlib.error) as problem:
        reason = getattr(problem, "strerror", None) or one_line(problem)
        raise ProbeError(f"{path} cannot be read: {reason}") from None


def _plain(stream: BinaryIO | gzip.GzipFile, path: Path, name: str, split: str | None) -> Iterator[Text]:
    text = _decoded(stream.read(), path)
    if split is None:
        yield Text(name, text)
        return
    parts = text.splitlines() if split == "lines" else [part.strip("\r\n") for part in _BLANK_LINES.split(text)]
    for number, part in enumerate(parts, start=1):
        yield Text(f"{name}:{number}", part)


def _json_lines(stream: BinaryIO | gzip.GzipFile, path: Path, name: str, field: str) -> Iterator[Text]:
    offset = 0
    for number, raw in enumerate(stream, start=1):
        line = _decoded(raw, path, offset)
        offset += len(raw)
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as problem:  # also a number of too many digits
            raise ProbeError(f"{path} line {number} is not JSON: {one_line(problem)}") from None
        if not isinstance(row, dict):
            raise ProbeError(f"{path} line {number} is no object: each line is one, such as {{{field!r}: ...}}")
        yield _of_row(row, field, f"{path} line {number}", f"{name}:{number}")


def _parquet(path: Path, name: str, field: str) -> Iterator[Text]:
    arrow = imported("pyarrow", f"reading {path.name}")
    parquet = imported("pyarrow.parquet", f"reading {path.name}", "pyarrow")
    try:
        with parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            columns = [column for column in (field, "id") if column in present]
            if field not in columns:
                raise _lacks(f"{path}", field, present)
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield _of_row(row, field, f"{path} row {number}", f"{name}:{number}")
    except arrow.lib.ArrowException as problem:
        raise ProbeError(f"{path} is not Parquet, or damaged: {one_line(problem)}") from None


def _of_row(row: dict[str, Any], field: str, place: str, name: str) -> Text:
    if field not in row:
        raise _lacks(place, field, list(row))
    text, given = row[field], row.get("id")
    if not isinstance(text, str):
        raise ProbeError(f"{place}: field {field!r} holds {type(text).__name__}, and has to hold text")
    return Text(str(given) if isinstance(given, str | int) else name, text)


def _lacks(place: str, field: str, present: list[str]) -> ProbeError:
    there = ", ".join(map(str, present[:8])) or "nothing"
    return ProbeError(f"{place} has no field {field!r}; it has {there}: name the one with the text as field=")


def _decoded(raw: bytes, path: Path, offset: int = 0) -> str:
    # A byte order mark is of the file and not of the text, which would begin with three bytes that nobody wrote.
    mark = b"\xef\xbb\xbf"
    skipped = len(mark) if offset == 0 and raw.startswith(mark) else 0
    try:
        return raw[skipped:].decode()
    except UnicodeDecodeError as problem:
        at = offset + skipped + problem.start
        looks = "UTF-16" if offset == 0 and raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "ISO-8859-1"
        raise ProbeError(
            f"{path} is not UTF-8 at byte {at:,} (0x{raw[skipped + problem.start]:02x}): convert it, "
            f"for example with iconv -f {looks} -t UTF-8"
        ) from None
