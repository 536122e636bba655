"""Answers to questions as rows: what they share is read once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rows import Ints, Row, Tree, plain_row

# Tokens that all contexts of a suite must begin with for several questions to go into a row: the examples of a few-shot
# prompt do, the word "Question:" is not worth the mask.
_TRUNK = 32
_ROW_PER_TRUNK = 4  # a row's tokens, as a multiple of its trunk; what is read between masks grows with their square


def plain_rows(
    contexts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], first_owner: int
) -> list[Row]:
    """A row for each continuation, its context in front."""
    return [
        plain_row([*context, *continuation], len(context), first_owner + number)
        for number, (context, continuation) in enumerate(zip(contexts, continuations, strict=True))
    ]


def shared_rows(
    contexts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    counts: Sequence[int],
    first_owner: int,
) -> list[Row]:
    """Rows in which a context is read once for all of its choices, and a few-shot prompt once for many questions.

    Args:
        contexts, continuations: tokens, one entry for each choice, those of the first question first.
        counts: choices of each question.
        first_owner: number of the first choice; they are counted on from there.
    """
    trunk = _common(contexts)
    if trunk < _TRUNK:
        trunk = 0
    rows, group, room = [], _Group(contexts[0][:trunk]), _ROW_PER_TRUNK * trunk
    first = 0
    for count in counts:
        mine = range(first, first + count)
        first += count
        group.add([(contexts[n][trunk:], continuations[n], first_owner + n) for n in mine])
        if len(group) >= room:
            rows.append(group.row())
            group = _Group(group.trunk)
    if group.has_questions:
        rows.append(group.row())
    return rows


class _Group:
    """The questions of one row."""

    def __init__(self, trunk: Sequence[int]) -> None:
        self.trunk = trunk
        self.has_questions = False
        self._ids: list[int] = list(trunk)
        self._nodes: list[int] = [0] * len(trunk)
        self._positions: list[int] = list(range(len(trunk)))
        self._parents: list[int] = [-1]
        self._asked: list[tuple[int, int, int]] = []  # at, target, owner

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, choices: Sequence[tuple[Sequence[int], Sequence[int], int]]) -> None:
        """One question: the rest of its context, a continuation and its owner, for each choice."""
        self.has_questions = True
        read: dict[tuple[int, ...], tuple[int, int]] = {}
        for context, continuation, owner in choices:
            # Choices may differ in their contexts instead of their ends.
            stem = tuple(context)
            if stem not in read:
                node = self._node(0, stem, len(self.trunk)) if stem else 0
                read[stem] = node, len(self._ids) - 1 if stem else len(self.trunk) - 1
            node, last = read[stem]
            # What comes last is predicted and never read.
            self._node(node, continuation[:-1], len(self.trunk) + len(stem))
            places = [last, *range(len(self._ids) - len(continuation) + 1, len(self._ids))]
            self._asked += [(place, target, owner) for place, target in zip(places, continuation, strict=True)]

    def row(self) -> Row:
        at, targets, owners = (np.array(part, dtype=np.int64) for part in zip(*self._asked, strict=True))
        sees = np.eye(len(self._parents), dtype=np.bool_)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                sees[node] |= sees[parent]
        tree = Tree(_ints(self._nodes), sees, _ints(self._positions))
        return Row(_ints(self._ids), at, targets, owners, tree)

    def _node(self, parent: int, ids: Sequence[int], position: int) -> int:
        number = len(self._parents)
        self._parents.append(parent)
        self._ids += ids
        self._nodes += [number] * len(ids)
        self._positions += range(position, position + len(ids))
        return number


def _common(contexts: Sequence[Sequence[int]]) -> int:
    """Tokens that all contexts begin with: as many as the first and the last in order have in common."""
    ordered = sorted(map(tuple, contexts))
    first, last = ordered[0], ordered[-1]
    return next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
