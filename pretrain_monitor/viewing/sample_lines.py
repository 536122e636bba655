"""Sample lines of a run log, many at a time: faster than one by one, and a million of them is a usual run."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import numpy as np

from .series import Floats, Ints

# As the run log spells a finite number. What is spelled otherwise, NaN for one, is read line by line.
_NUMBER = rb"(-?\d[\d.]*(?:e[-+]?\d+)?)"
_MOST_SIGNALS = 90  # beside steps, tokens and times: groups of one expression


class SampleBlock(NamedTuple):
    """Samples of the same signals, one row each.

    Args:
        tokens_seen: None if the samples do not tell it.
    """

    steps: Ints
    times: Floats
    tokens_seen: Ints | None
    signals: dict[str, Floats]


class SampleLines:
    """Reads blocks of lines that all look like the sample before them."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._has_tokens = False
        self._pattern: re.Pattern[bytes] | None = None

    def read(self, block: bytes) -> SampleBlock | None:
        """The samples of a block of whole lines; None if any line is something else, or has other signals."""
        if self._pattern is None or not self._names:
            return None
        rows = self._pattern.findall(block)
        if not rows or len(rows) != block.count(b"\n"):
            return None
        try:
            return self._columns(list(zip(*rows, strict=True)))
        except ValueError:
            return None  # digits that are no number

    def _columns(self, columns: list[tuple[bytes, ...]]) -> SampleBlock:
        steps = np.array([int(step) for step in columns[0]], dtype=np.int64)
        # Python's float and not numpy's: that reads bytes by way of text, at half the speed.
        signals = {name: np.array([*map(float, columns[1 + at])]) for at, name in enumerate(self._names)}
        tokens = np.array([*map(int, columns[-2])], dtype=np.int64) if self._has_tokens else None
        times = np.array([*map(float, columns[-1])])
        return SampleBlock(steps, times, tokens, signals)

    def learn(self, line: bytes) -> None:
        """Expect lines like this one from now on, if it is a plain sample."""
        try:
            record = json.loads(line)
            names = tuple(record["metrics"])
            has_tokens = "tokens_seen" in record
        except (ValueError, RecursionError, KeyError, TypeError):
            return
        is_plain = record.get("type") == "sample" and "time" in record and "meta" not in record
        if (
            not is_plain
            or not 0 < len(names) <= _MOST_SIGNALS
            or (names, has_tokens) == (self._names, self._has_tokens)
        ):
            return
        fields = b",".join(re.escape(json.dumps(name).encode()) + b":" + _NUMBER for name in names)
        seen = rb',"tokens_seen":(\d{1,18})' if has_tokens else b""
        pattern = rb'\{"type":"sample","step":(\d{1,18}),"metrics":\{' + fields + rb"\}" + seen + rb',"time":' + _NUMBER
        self._names, self._has_tokens = names, has_tokens
        self._pattern = re.compile(pattern + rb"\}\n")
