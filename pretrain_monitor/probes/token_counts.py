"""What a tokenizer makes of documents, counted: exact sums for each document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .base import ProbeError
from .optional import one_line
from .text_files import Text
from .tokenizers import Tokenizer

_CHARACTERS_AT_ONCE = 1 << 21  # a batch holds each token as an object, which is many times its text


@dataclass(frozen=True, slots=True)
class Counts:
    """A row for each document.

    Args:
        tokens: shape (documents,).
        seen: shape (vocabulary,), how often each token occurred; as long as the largest id that did.
        changed: documents that come back from decoding as something else; None if the tokenizer cannot decode.
    """

    tokens: NDArray[np.int64]
    seen: NDArray[np.int64]
    changed: int | None


def count_tokens(tokenizer: Tokenizer, texts: Sequence[Text], *, decode: bool = False) -> Counts:
    """Encode each document once.

    Args:
        decode: also see whether each comes back as it was, which takes about as long again.

    Raises:
        ProbeError: the tokenizer fails, or makes no token of any of them.
    """
    counts: list[int] = []
    seen = np.zeros(0, dtype=np.int64)
    changed = 0
    for batch in _batches(texts):
        encoded = _encoded(tokenizer, batch)
        counts += map(len, encoded)
        ids = np.fromiter((token for one in encoded for token in one), dtype=np.int64)
        if ids.size and ids.min() < 0:
            raise ProbeError(f"tokenizer {tokenizer.name} gave the token {ids.min()}; ids are whole numbers from 0 on")
        new = np.bincount(ids, minlength=len(seen))
        new[: len(seen)] += seen
        seen = new
        if decode and tokenizer.decode is not None:
            changed += sum(tokenizer.decode(ids) != one.text for ids, one in zip(encoded, batch, strict=True))
    if not seen.any():
        raise ProbeError(f"tokenizer {tokenizer.name} makes no token of any of the {len(texts):,} documents")
    is_known = decode and tokenizer.decode is not None
    return Counts(np.array(counts, dtype=np.int64), seen, changed if is_known else None)


def _encoded(tokenizer: Tokenizer, batch: Sequence[Text]) -> list[list[int]]:
    try:
        encoded = tokenizer.encode_all([one.text for one in batch])
    except Exception as problem:  # each library raises what it likes, and a user's function too
        where = f"documents {batch[0].id!r} to {batch[-1].id!r}" if len(batch) > 1 else f"document {batch[0].id!r}"
        raise ProbeError(f"tokenizer {tokenizer.name} fails on {where}: {one_line(problem)}") from problem
    if len(encoded) != len(batch):
        raise ProbeError(f"tokenizer {tokenizer.name} made {len(encoded)} lists of tokens of {len(batch)} documents")
    return encoded


def _batches(texts: Sequence[Text]) -> Iterator[list[Text]]:
    batch: list[Text] = []
    size = 0
    for one in texts:
        batch.append(one)
        size += len(one.text)
        if size >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
