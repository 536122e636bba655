"""TensorBoard event files, record by record, whole or while they are written.

A record is eight bytes of length, four of checksum, the payload and four more of checksum. TensorBoard's own reader
takes ten times as long, and its server keeps a sample of the points only.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from .errors import LogError

logger = logging.getLogger(__name__)

_HEAD, _TAIL = 12, 4
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 12
# A record with one plain scalar, as SummaryWriter makes them: wall time, step, and of a summary the tag and the value,
# each behind the byte that says which field it is. All lengths are below 128.
_PLAIN = re.compile(
    rb"\x09(.{8})\x10([\x80-\xff]{0,8}[\0-\x7f])\x2a([\0-\x7f])\x0a([\0-\x7f])\x0a([\0-\x7f])(.*)\x15(.{4})",
    re.DOTALL,
)
_DOUBLE, _FLOAT = struct.Struct("<d").unpack, struct.Struct("<f").unpack
_BFLOAT16 = 14  # in the list of types of TensorFlow
# No summary is as long as this: such a length is no length, and everything behind it cannot be found.
_LONGEST = 1 << 30


class ScalarEvent(NamedTuple):
    """The scalars of one record.

    Args:
        time: seconds since the epoch.
        is_start: a session begins here, and what earlier ones wrote at ``step`` or later is void.
    """

    step: int
    time: float
    values: list[tuple[str, float]]
    is_start: bool


class EventFile:
    """Follows one event file.

    Raises:
        LogError: tensorboard, which describes what is in a record, is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.is_damaged = False
        self.is_behind = False  # the last reading stopped at its limit
        self._parse = _parser()
        self._tags: dict[bytes, str] = {}
        self._packed: BinaryIO | None = None
        self._is_packed = self._is_torn = False

    def read(self, at_most: int) -> Iterator[ScalarEvent]:
        """The records that are complete, from about ``at_most`` bytes, one at least.

        Raises:
            OSError: the file cannot be read.
        """
        self.is_behind = False
        if self.is_damaged:
            return
        with self._opened() as file:
            file.seek(self.offset)
            data = self._read(file, at_most)
            needed = _needed(data)
            if needed is not None and needed > len(data) == at_most and needed <= _LONGEST:
                data += self._read(file, needed - len(data))
            self.is_behind = len(data) >= at_most
        at = 0
        while at + _HEAD <= len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            if length > _LONGEST:
                self._give_up()
                break
            end = at + _HEAD + length + _TAIL
            if end > len(data):
                break  # the rest is still being written, or comes with the next reading
            event = self._event(data[at + _HEAD : end - _TAIL])
            at = end
            self.offset += _HEAD + length + _TAIL
            if event is not None:
                yield event
        if self._is_torn:
            self._give_up()
        if at == 0:
            self.is_behind = False

    @property
    def is_cut_off(self) -> bool:
        """Whether there is a beginning of a record behind the last whole one: it is being written, or was cut off."""
        return not self._is_packed and not self.is_damaged and self.path.stat().st_size > self.offset

    def _opened(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """The file; of a packed one what is in it, kept open, for it can only be read on."""
        if self._packed is not None:
            return contextlib.nullcontext(self._packed)
        file = self.path.open("rb")
        if self.offset == 0 and file.read(2) == _GZIP:
            file.close()
            self._is_packed = True
            self._packed = cast(BinaryIO, gzip.open(self.path))  # noqa: SIM115  # closed with this object
            return contextlib.nullcontext(self._packed)
        return file

    def _read(self, file: BinaryIO, count: int) -> bytes:
        if not self._is_packed:
            return file.read(count)
        data = bytearray()
        try:
            # Piece by piece: what comes before the place where it is cut off can still be read.
            while len(data) < count and (piece := file.read(min(_PIECE, count - len(data)))):
                data += piece
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self._is_torn = True
        return bytes(data)

    def _event(self, payload: bytes) -> ScalarEvent | None:
        if (plain := _PLAIN.fullmatch(payload)) is not None and (event := self._plain(*plain.groups())) is not None:
            return event
        try:
            event = self._parse(payload)
        except Exception:  # DecodeError, of whichever protobuf is installed
            self._give_up()
            return None
        is_start = event.HasField("session_log") and event.session_log.status == 1
        values = []
        if event.HasField("summary"):
            for value in event.summary.value:
                number = _scalar(value)
                if number is not None:
                    values.append((value.tag, number))
        if not values and not is_start:
            return None
        return ScalarEvent(event.step, event.wall_time, values, is_start)

    def _plain(
        self, time: bytes, step: bytes, summary: bytes, entry: bytes, length: bytes, tag: bytes, value: bytes
    ) -> ScalarEvent | None:
        """The event of a plain record, in a third of the time that it takes protobuf; None if it is none after all."""
        if (summary[0], entry[0], length[0]) != (len(tag) + 9, len(tag) + 7, len(tag)):
            return None
        number = 0
        for digit in reversed(step):
            number = number << 7 | digit & 0x7F
        name = self._tags.get(tag)
        if name is None:
            try:
                name = self._tags.setdefault(tag, tag.decode())
            except UnicodeDecodeError:
                return None
        return ScalarEvent(number, _DOUBLE(time)[0], [(name, _FLOAT(value)[0])], False)

    def _give_up(self) -> None:
        if not self.is_damaged:
            logger.warning("%s: damaged after byte %d; what comes behind it is left out", self.path, self.offset)
        self.is_damaged = True


def _needed(data: bytes) -> int | None:
    return None if len(data) < _HEAD else int.from_bytes(data[:8], "little") + _HEAD + _TAIL


def _parser() -> Any:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
    except ModuleNotFoundError:
        raise LogError(
            "reading TensorBoard event files needs tensorboard: pip install 'pretrain-monitor[tensorboard]'"
        ) from None
    return Event.FromString


def _scalar(value: Any) -> float | None:
    """The number in a summary; None if it holds something else."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or math.prod((dim.size for dim in value.tensor.tensor_shape.dim), start=1) != 1:
        return None
    from tensorboard.util import tensor_util

    try:
        if value.tensor.dtype == _BFLOAT16:
            return _bfloat16(value.tensor)
        array = tensor_util.make_ndarray(value.tensor)
        return float(array.reshape(-1)[0]) if array.dtype.kind in "fiu" else None
    except (TypeError, ValueError, IndexError, struct.error):
        return None  # text, or a type that numpy has not got


def _bfloat16(tensor: Any) -> float:
    """The upper half of a float32; numpy has no such type."""
    bits = tensor.half_val[0] if tensor.half_val else int.from_bytes(tensor.tensor_content[:2], "little")
    number: float = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    return number
