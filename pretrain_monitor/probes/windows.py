"""Documents, however long, as rows that a model can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from .documents import Document
from .rows import Row

Windows = Literal["strided", "packed"]


def strided(documents: Sequence[Document], context_length: int, stride: int) -> list[Row]:
    """Each document by itself. One that is too long is read in windows, and each of its tokens is scored once.

    A window scores ``stride`` new tokens and reads as many before them as the context holds; so does the last one,
    which has fewer to score. A stride of the whole context costs nothing extra, and the first token of a later window
    is then predicted from one token alone; smaller ones give each token more to go by, at
    ``context_length / stride`` times the work.

    >>> document = Document(np.arange(8), np.arange(8) > 0, bytes=7)
    >>> [(row.ids.tolist(), row.targets.tolist()) for row in strided([document], context_length=3, stride=3)]
    [([0, 1, 2], [1, 2, 3]), ([3, 4, 5], [4, 5, 6]), ([4, 5, 6], [7])]
    """
    return [
        row
        for number, document in enumerate(documents)
        for start, first, end in _spans(len(document.ids), context_length, stride)
        if len((row := _window(document, number, start, first, end)).at)
    ]


def _spans(length: int, context_length: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Where each window starts, the first token that it scores, and where it ends."""
    first = 1
    while first < length:
        # The first window is full of tokens that nobody has scored.
        end = min(length, first + (context_length if first == 1 else stride))
        yield max(0, end - 1 - context_length), first, end
        first = end


def _window(document: Document, number: int, start: int, first: int, end: int) -> Row:
    scored = np.flatnonzero(document.is_scored[first:end]) + first
    owners = np.full(len(scored), number, dtype=np.int64)
    return Row(document.ids[start : end - 1], scored - 1 - start, document.ids[scored], owners)


def packed(documents: Sequence[Document], context_length: int) -> list[Row]:
    """All documents in one stream, cut into full rows, as most pre-training reads them: the quickest.

    A document's beginning is predicted with the end of another one before it, and a cut leaves the tokens behind it
    with nothing to go by.
    """
    ids = np.concatenate([document.ids for document in documents])
    owners = np.concatenate([np.full(len(d.ids), number, dtype=np.int64) for number, d in enumerate(documents)])
    is_scored = np.concatenate([document.is_scored for document in documents])
    rows = []
    for start in range(0, len(ids) - 1, context_length):
        end = min(len(ids), start + context_length + 1)
        scored = np.flatnonzero(is_scored[start + 1 : end])
        if len(scored):
            targets = scored + start + 1
            rows.append(Row(ids[start : end - 1], scored, ids[targets], owners[targets]))
    return rows
