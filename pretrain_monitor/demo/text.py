"""Real text that every machine with Python has: the interpreter's own library sources and its documentation."""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

DOMAINS = ("code", "documentation")

# Tests may not be installed; character maps and the documentation itself are no code.
_LEFT_OUT = frozenset({"__pycache__", "encodings", "idle_test", "pydoc_data", "site-packages", "test", "tests"})
_HELD_OUT_SHARE = 0.1
SEPARATOR = b"\0"  # occurs in no source file and no documentation


class TextError(RuntimeError):
    """This interpreter has no readable library sources; the message is one line for the user."""


@dataclass(frozen=True)
class Domain:
    """Text of one kind, cut by whole documents into a part to train on and a part kept apart.

    Args:
        train: documents by name, in the order of their names.
        held_out: documents by name that no training batch ever sees, not even under another name.
    """

    train: dict[str, bytes]
    held_out: dict[str, bytes]

    def train_bytes(self) -> Bytes:
        return _joined(self.train)

    def held_out_bytes(self) -> Bytes:
        return _joined(self.held_out)


@lru_cache(maxsize=1)
def load_text() -> dict[str, Domain]:
    """Both domains: ``code`` (about ten megabytes) and ``documentation`` (half a megabyte of English prose).

    Raises:
        TextError: the sources are not there, as in an interpreter that keeps its library in a zip file.
    """
    return {"code": _split(_library_sources()), "documentation": _split(_language_reference())}


def _library_sources() -> dict[str, bytes]:
    root = Path(sysconfig.get_path("stdlib"))
    sources = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not _LEFT_OUT.intersection(name.parts):
            sources[name.as_posix()] = path.read_bytes()
    if sum(map(len, sources.values())) < 1_000_000:
        raise TextError(f"the demo trains on the sources of Python's library, and {root} does not hold them")
    return sources


def _language_reference() -> dict[str, bytes]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TextError(
            "the demo trains on Python's own documentation, and this interpreter has no pydoc_data"
        ) from None
    return {name: text.encode() for name, text in sorted(topics.items())}


def _split(documents: dict[str, bytes]) -> Domain:
    """Whole documents to one side or the other by a hash of their content, so that equal ones stay together."""
    train: dict[str, bytes] = {}
    held_out: dict[str, bytes] = {}
    for name, content in documents.items():
        digest = hashlib.sha256(content).digest()
        is_held_out = int.from_bytes(digest[:4], "big") / 2**32 < _HELD_OUT_SHARE
        (held_out if is_held_out else train)[name] = content
    return Domain(train, held_out)


def _joined(documents: dict[str, bytes]) -> Bytes:
    return np.frombuffer(SEPARATOR.join(documents.values()), dtype=np.uint8)
