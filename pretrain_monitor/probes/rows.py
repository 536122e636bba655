"""What a model is asked: rows of tokens, and which predictions in them count for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tree:
    """How the tokens of a row belong together where several texts share their beginning.

    Args:
        nodes: shape (tokens,), number of the piece that each token is in.
        sees: shape (pieces, pieces), whether a piece goes on from another one, or is it.
        positions: shape (tokens,), place of each token in its own text.
    """

    nodes: Ints
    sees: NDArray[np.bool_]
    positions: Ints


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens for one row of a batch, and the predictions that are asked of it.

    Args:
        ids: shape (tokens,), what the model reads.
        at: shape (queries,), positions in ``ids`` after which a token is predicted.
        targets: shape (queries,), the token asked for there. It need not be the next one in ``ids``.
        owners: shape (queries,), number of the document or answer that its cost is added to.
        tree: for a row that is more than one text; None for plain text.
    """

    ids: Ints
    at: Ints
    targets: Ints
    owners: Ints
    tree: Tree | None = None

    def __len__(self) -> int:
        return len(self.ids)


def plain_row(ids: Sequence[int] | Ints, first: int, owner: int) -> Row:
    """A row that is asked for its own tokens from number ``first`` on; the last one need not be read.

    >>> row = plain_row([5, 6, 7, 8], first=2, owner=0)
    >>> row.ids.tolist(), row.at.tolist(), row.targets.tolist()
    ([5, 6, 7], [1, 2], [7, 8])
    """
    tokens = np.asarray(ids, dtype=np.int64)
    at = np.arange(first - 1, len(tokens) - 1, dtype=np.int64)
    return Row(tokens[:-1], at, tokens[first:], np.full(len(at), owner, dtype=np.int64))


def in_batches(rows: Sequence[Row], batch_tokens: int, start_tokens: int = 0) -> list[list[int]]:
    """Numbers of the rows of each batch, the longest first, so that memory runs out at once or never.

    Args:
        batch_tokens: tokens of a batch, padding included; a row longer than this is a batch by itself.
        start_tokens: tokens in whose time a forward pass is begun: so much padding costs less than another one.
    """
    order = sorted(range(len(rows)), key=lambda number: (-len(rows[number]), number))
    # Rows of plain text apart from others: those need a mask, which keeps a model from its quickest attention.
    batches: list[list[int]] = []
    for is_plain in (False, True):
        some = [number for number in order if (rows[number].tree is None) == is_plain]
        ends = _ends([len(rows[number]) for number in some], batch_tokens, start_tokens)
        batches += [some[first:end] for first, end in zip([0, *ends], ends, strict=False)]
    return batches


def _ends(lengths: Sequence[int], batch_tokens: int, start_tokens: int) -> list[int]:
    """Where to cut rows, the longest first, so that reading them takes least: tokens, padding, and beginnings."""
    count = len(lengths)
    least, ends = np.zeros(count + 1), np.zeros(count, dtype=np.int64)  # from each row to the end
    for first in reversed(range(count)):
        width = max(1, lengths[first])
        most = min(count - first, max(1, batch_tokens // width))
        costs = width * np.arange(most, 0, -1) + least[first + most : first : -1]
        best = int(np.argmin(costs))  # of equal ones that with the most rows
        least[first], ends[first] = costs[best] + start_tokens, first + most - best
    found, end = [], 0
    while end < count:
        end = int(ends[end])
        found.append(end)
    return found


def padded(rows: Sequence[Row]) -> Ints:
    """Token ids of a batch, shape (rows, longest). Padding comes last, where no causal model sees it."""
    width = max(len(row) for row in rows)
    # With a row's own token: transformers warns of a missing mask where it meets its padding token.
    return np.stack([np.pad(row.ids, (0, width - len(row)), mode="edge") for row in rows])


def padded_masks(trees: Sequence[Tree], width: int) -> tuple[NDArray[np.bool_], Ints]:
    """What each token sees, shape (rows, width, width), and positions, shape (rows, width). Padding sees itself."""
    sees = np.zeros((len(trees), width, width), dtype=np.bool_)
    positions = np.zeros((len(trees), width), dtype=np.int64)
    for number, tree in enumerate(trees):
        size = len(tree.nodes)
        sees[number, :size, :size] = np.tril(tree.sees[np.ix_(tree.nodes, tree.nodes)])
        # A token that sees nothing makes NaN of its row in some kernels.
        np.fill_diagonal(sees[number], True)
        positions[number, :size] = tree.positions
    return sees, positions
