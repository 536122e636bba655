"""The columns of a long run log beside it, so that it opens at once the next time.

Never needed, and never trusted: it holds for the log whose beginning and whose bytes before the place it reaches to are
those it was made of, and is made anew otherwise. A directory that cannot be written has none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .series import Series

logger = logging.getLogger(__name__)

NAME = ".pretrain_monitor_cache"
_FORMAT = "pretrain-monitor columns 1"
_WORTH_BYTES = 16 << 20  # of a log: a shorter one is read in less than half a second
_GROWN = 1.3  # times as long as when the cache was made, from which on it is made anew
_MOST_ODD = 0.25  # of the log that is no plain sample: such a log gains nothing
_SPOT_BYTES = 4096
_MOST_HEADER_BYTES = 64 << 20


class Columns(NamedTuple):
    """What was read of a log up to a byte.

    Args:
        offset: of the first byte that was not read.
        last_step: of the newest sample of training.
        odd_lines: those that were not plain samples, in their order: what else the log says.
        series: by name; ``""`` has the tokens, ``"\\n"`` the times.
    """

    offset: int
    samples: int
    last_step: int
    odd_lines: bytes
    series: dict[str, Series]


def path_for(log: Path) -> Path:
    return log.with_name(NAME)


def is_worth(log_bytes: int, odd_bytes: int, cached_bytes: int) -> bool:
    """Whether a cache should be written for what has been read.

    Args:
        cached_bytes: how much of the log the present one covers; 0 if there is none.
    """
    return log_bytes >= _WORTH_BYTES and log_bytes > _GROWN * cached_bytes and odd_bytes < _MOST_ODD * log_bytes


def write(log: Path, columns: Columns) -> bool:
    """Write the columns beside the log, whole or not at all; whether that worked."""
    target = path_for(log)
    beside = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        if not os.access(log.parent, os.W_OK):
            return False
        with log.open("rb") as file:
            spots = _spots(file, columns.offset)
        header = {
            "format": _FORMAT,
            "offset": columns.offset,
            "samples": columns.samples,
            "last_step": columns.last_step,
            "spots": spots,
            "odd_bytes": len(columns.odd_lines),
            "series": [[name, series.samples_per_pair] for name, series in columns.series.items()],
        }
        with beside.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(columns.odd_lines)
            for series in columns.series.values():
                np.save(file, series.steps, allow_pickle=False)
                np.save(file, series.values, allow_pickle=False)
        beside.replace(target)
    except OSError as error:
        logger.debug("%s: no cache (%s)", log, error)
        beside.unlink(missing_ok=True)
        return False
    return True


def read(log: Path) -> Columns | None:
    """The columns that were written for this log, if they hold."""
    try:
        with path_for(log).open("rb") as file, log.open("rb") as source:
            header = json.loads(file.readline(_MOST_HEADER_BYTES))
            if not _holds(header, source):
                return None
            size = os.fstat(file.fileno()).st_size
            odd_lines = file.read(min(int(header["odd_bytes"]), size))
            series = {str(name): _series(file, int(pairs)) for name, pairs in header["series"]}
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, MemoryError):
        return None  # there is none, or it is damaged
    return Columns(header["offset"], int(header["samples"]), int(header["last_step"]), odd_lines, series)


def _holds(header: Any, source: BinaryIO) -> bool:
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        return False
    offset = header["offset"]
    if type(offset) is not int or not 0 < offset <= os.fstat(source.fileno()).st_size:
        return False
    return bool(_spots(source, offset) == header["spots"])


def _spots(file: BinaryIO, offset: int) -> str:
    """Of the beginning of a log, of its middle and of what comes before ``offset``."""
    digest = hashlib.sha256()
    for start in (0, offset // 2, max(offset - _SPOT_BYTES, 0)):
        file.seek(start)
        digest.update(file.read(min(_SPOT_BYTES, offset - start)))
    return digest.hexdigest()


def _series(file: BinaryIO, samples_per_pair: int) -> Series:
    steps, values = (np.load(file, allow_pickle=False) for _ in range(2))
    if steps.dtype != np.int64 or values.dtype != np.float64 or steps.ndim != 1 or steps.shape != values.shape:
        raise ValueError("not the columns of a signal")
    if len(steps) and (np.diff(steps) < 0).any():
        raise ValueError("steps that go backwards")
    series = Series()
    series.extend(steps, values)
    series.samples_per_pair = samples_per_pair
    return series
