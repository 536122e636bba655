"""Text of several domains as bytes on which small models train, and documents of each that they never see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.detection.errors import UsageError
from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.texts import load_domain

# What every machine on which this runs has, and enough of it that nothing is read twice.
INSTALLED: dict[str, Any] = {
    "code": {"files": "**/*.py", "package": "torch"},
    "headers": {"files": "include/**/*.h", "package": "torch"},
    "scripts": {"files": "package_data/plotly.min.js", "package": "plotly"},
}
_HELD_OUT_SHARE = 0.15
_DOCUMENTS = 60  # held out, of each domain
_SHORTEST = 64
_PIECE = 1024  # bytes; of a few long documents hardly any could be held out
_MOST = 4_000_000  # bytes to train on, of each domain


@dataclass(frozen=True, slots=True)
class Texts:
    """Train and held-out bytes by domain; the documents of a domain lie one behind the other.

    Args:
        train: bytes, by domain.
        held_out: bytes, by domain.
        sizes: bytes of each document that is held out, by domain.
    """

    train: dict[str, NDArray[np.uint8]]
    held_out: dict[str, NDArray[np.uint8]]
    sizes: dict[str, NDArray[np.int64]]

    def save(self, path: Path) -> None:
        parts = {"train": self.train, "held_out": self.held_out, "sizes": self.sizes}
        # The order of the domains is part of what a seed means.
        arrays = {f"{part}/{domain}": array for part, by_domain in parts.items() for domain, array in by_domain.items()}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Texts:
        with np.load(path) as arrays:
            names = [name.partition("/") for name in arrays.files]
            parts: dict[str, dict[str, Any]] = {"train": {}, "held_out": {}, "sizes": {}}
            for part, _, domain in names:
                parts[part][domain] = arrays[f"{part}/{domain}"]
        return cls(**parts)


def read_texts(settings: Path | None) -> Texts:
    """The domains of a YAML file, each as in a probe file; of what is installed, without one.

    Raises:
        UsageError: a domain cannot be read, or has too little text.
    """
    domains = INSTALLED if settings is None else yaml.safe_load(settings.read_text(encoding="utf-8"))
    train, held_out, sizes = {}, {}, {}
    for name, source in domains.items():
        try:
            documents = [piece for text in load_domain(name, source) for piece in _pieces(text.text.encode())]
        except ProbeError as problem:
            raise UsageError(str(problem)) from None
        kept, tested = _split(documents)
        if len(tested) < _DOCUMENTS or sum(map(len, kept)) < 100_000:
            raise UsageError(
                f"domain {name!r} has {len(tested)} documents to hold out and {sum(map(len, kept)):,} bytes to train "
                f"on; give at least {_DOCUMENTS} and 100,000"
            )
        # Evenly over all of them: files of one folder are alike.
        tested = [tested[(2 * turn + 1) * len(tested) // (2 * _DOCUMENTS)] for turn in range(_DOCUMENTS)]
        train[name] = np.frombuffer(b"\0".join(kept), dtype=np.uint8)[:_MOST]
        held_out[name] = np.frombuffer(b"".join(tested), dtype=np.uint8)
        sizes[name] = np.array([len(document) for document in tested])
    return Texts(train, held_out, sizes)


def _pieces(document: bytes) -> list[bytes]:
    return [document[start : start + _PIECE] for start in range(0, len(document), _PIECE)]


def _split(documents: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """By a hash of their content, so that equal ones stay together."""
    kept, tested = [], set()
    for document in documents:
        digest = hashlib.sha256(document).digest()
        if int.from_bytes(digest[:4], "big") / 2**32 >= _HELD_OUT_SHARE:
            kept.append(digest + document)
        elif len(document) >= _SHORTEST:
            tested.add(digest + document)
    # In an order that has nothing to do with where a document was found.
    return [document[32:] for document in sorted(kept)], [document[32:] for document in sorted(tested)]
