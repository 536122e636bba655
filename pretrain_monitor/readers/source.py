"""A log as lines of text, whatever it comes from: a file, a pipe that can be read only once, either of them gzipped."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ..printable import shown_path
from .errors import LogError

# What the first bytes say of a file that is no text, and what to do about it.
_EXPORT = "export it as CSV or JSONL"
_UNPACK = "unpack it first"
_NOT_READ = (
    (b"ARROW1", f"an Arrow file, which is not read; {_EXPORT}"),
    (b"\x28\xb5\x2f\xfd", f"compressed with zstd, which is not read; {_UNPACK}"),
    (b"PK\x03\x04", f"a ZIP archive, which is not read; {_UNPACK}"),
    (b"BZh", f"compressed with bzip2, which is not read; {_UNPACK}"),
    (b"\xfd7zXZ", f"compressed with xz, which is not read; {_UNPACK}"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
)  # fmt: skip
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 64
_BUFFER_BYTES = 1 << 20

# A line of a log holds the signals of one step. Without a limit a file without line ends would be read into memory.
MAX_LINE_BYTES = 32 << 20

_STANDARD_INPUT = ("-", "/dev/stdin")


class LogSource:
    """The lines of one opened log, read once from beginning to end; a context manager.

    Args:
        path: a file, a named pipe, or ``-`` for standard input.

    Raises:
        LogError: no such file, a directory, a device, not readable, of a kind that is not read.
    """

    def __init__(self, path: Path) -> None:
        self.name = "standard input" if str(path) in _STANDARD_INPUT else shown_path(path)
        self.line_number = 0  # of the line that was given out last, counted from 1
        self.is_cut_off = False  # that line has no end: it is the last, and may be one that is being written
        self.is_print_out = False  # what is no text in a line is passed over: a program that is killed may leave it
        self.mended_lines = 0  # in which something was passed over
        self._closing = contextlib.ExitStack()
        self._first: bytes | None = None
        with self._told():
            file, self._is_file = _opened(path, self.name)
            self._can_be_reopened = self._is_file
            self._closing.enter_context(file)
            try:
                self._bytes = self._decompressed(file)
            except BaseException:
                self._closing.close()
                raise

    def __enter__(self) -> LogSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()

    @property
    def is_file(self) -> bool:
        """Whether it can be opened and read a second time."""
        return self._can_be_reopened

    def begins_with(self, magic: bytes) -> bool:
        """Whether these are the first bytes; nothing is read by it."""
        return self._head.startswith(magic)

    def first_line(self) -> str:
        """The first line that is not blank; it will be given out again.

        Raises:
            LogError: nothing but blank lines, not UTF-8, binary.
        """
        for line in self:
            if line.strip():
                self._first = line.encode()
                return line.strip()
        raise LogError(f"{self.name}: the log is empty")

    def __iter__(self) -> Iterator[str]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first.decode()
        with self._told():
            while raw := self._bytes.readline(MAX_LINE_BYTES):
                self.line_number += 1
                self.is_cut_off = not raw.endswith(b"\n")
                yield self._text(raw)

    def seekable(self) -> BinaryIO:
        """All bytes of the log in a file that can be read more than once; a temporary copy of what cannot."""
        if self._is_file:
            self._bytes.seek(0)
            return self._bytes
        copy = cast(BinaryIO, self._closing.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
        copy.write(self._first or b"")
        with self._told():
            shutil.copyfileobj(self._bytes, copy)
        copy.seek(0)
        return copy

    def _decompressed(self, file: BinaryIO) -> BinaryIO:
        head = self._head = file.read(_HEAD_BYTES)
        if b"brain.Event:" in head:
            raise LogError(f"{self.name}: a TensorBoard event file, not to be read from a pipe; give its directory")
        for magic, what in _NOT_READ:
            if head.startswith(magic):
                raise LogError(f"{self.name}: {what}")
        if self._is_file:
            file.seek(0)
        else:
            file = cast(BinaryIO, io.BufferedReader(_Rejoined(head, file), _BUFFER_BYTES))
        if not head.startswith(_GZIP):
            return file
        self._is_file = False
        return cast(BinaryIO, self._closing.enter_context(gzip.GzipFile(fileobj=file)))

    def _text(self, raw: bytes) -> str:
        if len(raw) == MAX_LINE_BYTES:
            raise LogError(f"{self.name}: line {self.line_number} is longer than 32 MiB: not a CSV or JSONL log")
        if self.is_print_out:
            text = raw.decode(errors="replace").replace("\0", "\ufffd")
            self.mended_lines += "\ufffd" in text
            return text
        if b"\0" in raw:
            raise LogError(f"{self.name}: a binary file, not a CSV or JSONL log")
        try:
            return raw.decode("utf-8-sig" if self.line_number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise LogError(f"{self.name}: line {self.line_number} is not UTF-8 text") from None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise LogError(f"{self.name}: no such file or directory") from None
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise LogError(f"{self.name}: gzip data damaged or cut off; save what zcat still reads of it") from None
        except OSError as error:
            raise LogError(f"{self.name}: cannot be read: {error.strerror or error}") from None


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes have been read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def _opened(path: Path, name: str) -> tuple[BinaryIO, bool]:
    """The open file, and whether it is a regular one."""
    if str(path) in _STANDARD_INPUT:
        # By its number: a socket cannot be opened by the name /dev/stdin, and a file is not to be read from its start.
        return os.fdopen(os.dup(0), "rb", _BUFFER_BYTES), False
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise LogError(f"{name}: no path can hold a zero byte") from None
    if stat.S_ISDIR(mode):
        raise LogError(f"{name}: a directory, not a log")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise LogError(f"{name}: a {'socket' if stat.S_ISSOCK(mode) else 'device'}, not a log")
    return path.open("rb", _BUFFER_BYTES), stat.S_ISREG(mode)
