"""What of a domain is read and what of it is scored: documents as token ids, with the bytes that they stand for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import ProbeError
from .rows import Ints
from .texts import Text, load_domain
from .tokenizers import Tokenizer

_IGNORED = -100  # label of a token that is not scored, as everywhere


@dataclass(frozen=True, slots=True)
class Document:
    """One text in tokens.

    Args:
        ids: shape (tokens,), with the token that it begins after in front, if there is one.
        is_scored: shape (tokens,), False for what is read only. The first token of all cannot be predicted.
        bytes: UTF-8 bytes of the scored tokens; 0 if nobody knows.
    """

    ids: Ints
    is_scored: np.ndarray[Any, np.dtype[np.bool_]]
    bytes: int

    @property
    def scored(self) -> int:
        return int(self.is_scored.sum())


@dataclass(frozen=True, slots=True)
class Domain:
    """The documents of a domain that have something to score.

    Args:
        left_out: documents without a single token to score.
        texts: what each was made of, for a compressor to be held against; empty for token tensors.
    """

    name: str
    documents: tuple[Document, ...]
    left_out: int
    texts: tuple[str, ...]

    def key(self, cut: str) -> str:
        """Names these documents, their tokens and how they are cut: only results of the same key can be paired."""
        digest = hashlib.sha256(cut.encode())
        for document in self.documents:
            digest.update(document.ids.tobytes() + document.is_scored.tobytes() + b"|")
        return digest.hexdigest()[:16]


def read_domain(name: str, given: Any, tokenizer: Tokenizer | None) -> Domain:
    """The documents of a domain, given as anything that ``load_domain`` reads, or as token ids.

    Token ids are a list of sequences, a 2-D tensor, or a mapping with ``input_ids`` and, where not all is to be scored,
    ``labels`` or ``attention_mask``.

    Raises:
        ProbeError: nothing to score, unreadable, or text without a tokenizer.
    """
    if _is_tokens(given):
        found = [_of_tokens(*parts, tokenizer=tokenizer) for parts in _token_rows(name, given)]
        texts: tuple[str, ...] = ()
    else:
        if tokenizer is None:
            raise ProbeError(f"domain {name!r}: give the tokenizer that turns its texts into the model's tokens")
        loaded = load_domain(name, given)
        found = _of_texts(loaded, tokenizer)
        texts = tuple(text.text for text, document in zip(loaded, found, strict=True) if document.scored)
    kept = tuple(document for document in found if document.scored)
    if not kept:
        raise ProbeError(f"domain {name!r}: none of its {len(found):,} documents has a token to score")
    return Domain(name, kept, len(found) - len(kept), texts)


def _of_texts(texts: Sequence[Text], tokenizer: Tokenizer) -> list[Document]:
    documents = []
    for text, ids in zip(texts, tokenizer.encode_all([text.text for text in texts]), strict=True):
        size = len(text.text.encode())
        if tokenizer.prefix_id is None:
            size = size - _bytes_of_first(text.text, ids, tokenizer) if tokenizer.decode is not None else 0
            whole = np.asarray(ids, dtype=np.int64)
        else:
            whole = np.asarray([tokenizer.prefix_id, *ids], dtype=np.int64)
        is_scored = np.ones(len(whole), dtype=np.bool_)
        is_scored[:1] = False
        documents.append(Document(whole, is_scored, size))
    return documents


def _bytes_of_first(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> int:
    """Bytes of the token that is not predicted, because no token comes before it."""
    if tokenizer.decode is None or not ids:
        return 0
    rest = tokenizer.decode(ids[1:])
    first = text[: len(text) - len(rest)] if text.endswith(rest) else tokenizer.decode(ids[:1])
    return len(first.encode())


def _is_tokens(given: Any) -> bool:
    if isinstance(given, Mapping):
        return "input_ids" in given
    if hasattr(given, "ndim"):
        return True
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        return False
    first = given[0]
    if isinstance(first, Mapping):
        return "input_ids" in first
    return hasattr(first, "ndim") or (isinstance(first, list | tuple) and bool(first) and isinstance(first[0], int))


def _token_rows(name: str, given: Any) -> Iterable[tuple[Ints, Ints | None]]:
    """Token ids and labels, a document at a time."""
    if isinstance(given, Mapping):
        ids, labels, mask = (given.get(key) for key in ("input_ids", "labels", "attention_mask"))
        rows = list(_rows(name, ids))
        marks: list[Ints | None] = [None] * len(rows)
        if labels is not None:
            marks = list(_rows(name, labels))
        elif mask is not None:
            marks = list(_rows(name, mask))
        shapes = [row.shape if mark is None else mark.shape for row, mark in zip(rows, marks, strict=False)]
        if len(marks) != len(rows) or shapes != [row.shape for row in rows]:
            raise ProbeError(f"domain {name!r}: input_ids and labels or attention_mask must have the same shape")
        if labels is None and mask is not None:
            marks = [np.where(seen != 0, row, _IGNORED) for row, seen in zip(rows, marks, strict=True)]
        yield from zip(rows, marks, strict=True)
    elif isinstance(given, Sequence) and isinstance(given[0], Mapping):
        for one in given:
            yield from _token_rows(name, {key: [value] for key, value in one.items()})
    else:
        yield from ((row, None) for row in _rows(name, given))


def _rows(name: str, given: Any) -> Iterable[Ints]:
    values = given
    if hasattr(given, "detach"):
        values = given.detach().cpu().numpy()
    if hasattr(values, "ndim") and values.ndim == 1:
        values = [values]
    if values is None or not hasattr(values, "__iter__") or getattr(values, "ndim", 1) == 0:
        kind = type(given).__name__
        raise ProbeError(f"domain {name!r}: token ids are a list of documents or a 2-D tensor, got {kind}")
    for value in values:
        row = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if row.ndim != 1 or row.dtype.kind not in "iu":
            got = f"{row.dtype} in {row.ndim} dimensions"
            raise ProbeError(f"domain {name!r}: token ids are whole numbers, one document a row; got rows of {got}")
        yield row.astype(np.int64)


def _of_tokens(ids: Ints, labels: Ints | None, *, tokenizer: Tokenizer | None) -> Document:
    is_scored = np.ones(len(ids), dtype=np.bool_) if labels is None else labels != _IGNORED
    is_scored[:1] = False
    if labels is not None and (~is_scored).any():
        # What comes after the last scored token is padding, and may hold ids that no model knows.
        end = int(np.flatnonzero(is_scored).max(initial=-1)) + 1
        ids, is_scored = ids[:end], is_scored[:end]
    size = 0
    if tokenizer is not None and tokenizer.decode is not None and is_scored.any():
        size = len(tokenizer.decode(ids[is_scored].tolist()).encode())
    return Document(ids, is_scored, size)
