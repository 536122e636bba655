"""Records of the run log as lines of strict JSON."""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring_ascii
from typing import Any

from .telemetry import Sample, spell_nonfinite

# Made once: json.dumps with options makes one for each call.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=str)
_TOKENS = (int, type(None))


def line(kind: str, record: dict[str, Any]) -> bytes:
    """A record as one line; "type" and "step" come first, so that an index needs no JSON parsing."""
    record = {"type": kind, **record}
    try:
        text = _ENCODER.encode(record)
    except ValueError:
        text = _ENCODER.encode(spell_nonfinite(record))
    return text.encode() + b"\n"


def sample_line(sample: Sample) -> bytes:
    """A sample as one line, byte for byte as ``line`` makes it, but in a third of the time for the usual one."""
    step, time, tokens = sample.step, sample.time, sample.tokens_seen
    metrics = _plain_floats(sample)
    if metrics is None or sample.meta or type(step) is not int or type(tokens) not in _TOKENS or not _is_plain(time):
        return line("sample", sample.to_json())
    seen = "" if tokens is None else f',"tokens_seen":{tokens}'
    return f'{{"type":"sample","step":{step},"metrics":{{{metrics}}}{seen},"time":{time!r}}}\n'.encode()


def _plain_floats(sample: Sample) -> str | None:
    """The metrics inside their braces; None if some value is not finite or not a float by itself."""
    fields = []
    for name, value in sample.metrics.items():
        if not _is_plain(value) or type(name) is not str:
            return None
        fields.append(f"{encode_basestring_ascii(name)}:{value!r}")
    return ",".join(fields)


def _is_plain(value: object) -> bool:
    # Subclasses of float, such as numpy's, print otherwise.
    return type(value) is float and math.isfinite(value)
