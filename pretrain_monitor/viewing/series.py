"""One signal at full resolution, and what of it a chart of so many pixels has to draw."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_BLOCK = 64  # rows of which the extremes are remembered
_FIRST_ROOM = 1024


class Drawn(NamedTuple):
    """What a chart draws of a signal.

    Args:
        steps: rising.
        values: NaN where the value was NaN or infinite, of which one of each column at least is there.
        start: step from which on this takes the place of what was drawn before; None: it is everything.
    """

    steps: Ints
    values: Floats
    start: int | None = None

    @property
    def nonfinite(self) -> Ints:
        """Steps at which the value was NaN or infinite."""
        return self.steps[np.isnan(self.values)]


class Series:
    """The values of one signal, over rising steps.

    >>> series = Series()
    >>> series.extend([1, 2, 3, 4], [5.0, 9.0, 1.0, 2.0])
    >>> series.draw(1, 4, columns=1).values.tolist()
    [9.0, 1.0]
    """

    def __init__(self) -> None:
        self._steps: Ints = np.empty(_FIRST_ROOM, dtype=np.int64)
        self._values: Floats = np.empty(_FIRST_ROOM, dtype=np.float64)
        self._rows = 0
        self.samples_per_pair = 1  # of an older part only the smallest and the largest of so many are left
        # Rows of the smallest, the largest and the first non-finite value of each whole block, -1 where there is none.
        self._extremes: NDArray[np.int64] = np.empty((16, 3), dtype=np.int64)
        self._blocks = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def steps(self) -> Ints:
        return self._steps[: self._rows]

    @property
    def values(self) -> Floats:
        return self._values[: self._rows]

    @property
    def nbytes(self) -> int:
        return self._steps.nbytes + self._values.nbytes + self._extremes.nbytes

    @property
    def last(self) -> tuple[int, float] | None:
        """Step and value of the newest row."""
        if not self._rows:
            return None
        return int(self._steps[self._rows - 1]), float(self._values[self._rows - 1])

    def append(self, step: int, value: float) -> None:
        if self._rows == len(self._steps):
            self._grow(1)
        self._steps[self._rows] = step
        self._values[self._rows] = value
        self._rows += 1

    def extend(self, steps: Any, values: Any) -> None:
        """Append rows; steps do not fall, neither here nor against what came before."""
        count = len(steps)
        if self._rows + count > len(self._steps):
            self._grow(count)
        self._steps[self._rows : self._rows + count] = steps
        self._values[self._rows : self._rows + count] = values
        self._rows += count

    def cut(self, after: int) -> None:
        """Forget everything past step ``after``."""
        self._rows = int(np.searchsorted(self.steps, after, side="right"))
        self._blocks = min(self._blocks, self._rows // _BLOCK)

    def thin(self) -> None:
        """Halve the memory: of every four rows keep the smallest and the largest, and of what is not finite the first.

        What stays is drawn as before; only a close look finds fewer rows. The newest quarter is left alone.
        """
        whole = self._rows * 3 // 4 // 4 * 4
        rows = _extreme_rows(self._values[:whole].reshape(-1, 4))
        places = np.where(rows < 0, -1, rows + 4 * np.arange(whole // 4)[:, None])
        places = np.unique(places)
        kept = np.concatenate([places[places >= 0], np.arange(whole, self._rows)])
        self._steps, self._values = self._steps[kept], self._values[kept]
        self._rows = len(kept)
        self._blocks = 0
        self.samples_per_pair = 4 if self.samples_per_pair == 1 else 2 * self.samples_per_pair

    def rows(self, first: int, last: int) -> slice:
        """The rows from step ``first`` to step ``last``, both included."""
        start, stop = np.searchsorted(self.steps, [first, last + 1], side="left")
        return slice(int(start), int(stop))

    def bucket(self, first: int, last: int, columns: int) -> int:
        """Steps of a column in a picture of so many columns, or of half as many at least; 0: every row is drawn.

        A power of two, and columns begin at its multiples: while a run goes on all but the newest stay as they are.
        """
        part = self.rows(first, last)
        if part.stop - part.start <= 2 * columns:
            return 0
        return 1 << (-(-(last - first + 1) // max(columns, 1)) - 1).bit_length()

    def draw(self, first: int, last: int, columns: int, since: int | None = None) -> Drawn:
        """From step ``first`` to ``last``: of each column the smallest and the largest value, as they came.

        With no more rows than two a column there is every one. The row before and the row after are there too, so
        that lines go on to the edge of the picture.

        Args:
            since: only from the column on that holds this step: what has changed since it was the newest.
        """
        bucket = self.bucket(first, last, columns)
        start = None if since is None else since // max(bucket, 1) * max(bucket, 1)
        part = self.rows(first if start is None else max(start, first), last)
        if not bucket:
            before = 1 if start is None else 0
            rows = np.arange(max(part.start - before, 0), min(part.stop + 1, self._rows))
        else:
            is_long = part.stop - part.start >= 4 * _BLOCK * columns
            rows = self._candidates(part) if is_long else np.arange(part.start, part.stop)
            rows = rows[_chosen(self._steps[rows] // bucket, self._values[rows])]
            # The newest value is always there, whatever else its column holds.
            ends = (part.start - 1, part.start) if start is None else ()
            edges = [row for row in (*ends, part.stop - 1, part.stop) if 0 <= row < self._rows]
            rows = np.union1d(rows, np.array(edges, dtype=np.int64))
        steps, values = self._steps[rows], self._values[rows]
        return Drawn(steps, np.where(np.isfinite(values), values, np.nan), start)

    def _candidates(self, part: slice) -> Ints:
        """Rows among which are the extremes of every whole block: of a column of some blocks no spike is missing."""
        first, last = -(-part.start // _BLOCK), part.stop // _BLOCK
        self._remember_extremes()
        middle = np.unique(self._extremes[first:last])
        return np.concatenate(
            [
                np.arange(part.start, first * _BLOCK),
                middle[middle >= 0],
                np.arange(last * _BLOCK, part.stop),
            ]
        )

    def _remember_extremes(self) -> None:
        whole = self._rows // _BLOCK
        if whole == self._blocks:
            return
        if whole > len(self._extremes):
            room = np.empty((max(whole, 2 * len(self._extremes)), 3), dtype=np.int64)
            room[: self._blocks] = self._extremes[: self._blocks]
            self._extremes = room
        values = self._values[self._blocks * _BLOCK : whole * _BLOCK].reshape(-1, _BLOCK)
        rows = _extreme_rows(values)
        starts = np.arange(self._blocks, whole)[:, None] * _BLOCK
        self._extremes[self._blocks : whole] = np.where(rows < 0, -1, rows + starts)
        self._blocks = whole

    def _grow(self, count: int) -> None:
        room = max(2 * len(self._steps), self._rows + count)
        for name in ("_steps", "_values"):
            old = getattr(self, name)
            new = np.empty(room, dtype=old.dtype)
            new[: self._rows] = old[: self._rows]
            setattr(self, name, new)


def _extreme_rows(blocks: Floats) -> Ints:
    """For each block the places of its smallest, its largest and its first non-finite value; -1 for none of the last.

    A block without a finite value has its first place for all three.
    """
    finite = np.isfinite(blocks)
    if finite.all():
        none = np.full(len(blocks), -1)
        return np.column_stack([blocks.argmin(axis=1), blocks.argmax(axis=1), none])
    low = np.where(finite, blocks, np.inf).argmin(axis=1)
    high = np.where(finite, blocks, -np.inf).argmax(axis=1)
    first = np.where(finite.all(axis=1), -1, (~finite).argmax(axis=1))
    return np.column_stack([low, high, first])


def _chosen(column: Ints, values: Floats) -> Ints:
    """Places of the smallest, the largest and the first non-finite value of each column, rising."""
    if not len(column):
        return np.empty(0, dtype=np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    number = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(column)))
    finite = np.isfinite(values)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    found = [_first_of(number, finite & (values == extreme[number])) for extreme in (low, high)]
    if not finite.all():
        found.append(_first_of(number, ~finite))
    return np.unique(np.concatenate(found))


def _first_of(number: Ints, is_one: NDArray[np.bool_]) -> Ints:
    """Of each group of numbers the first place where the claim holds, if there is one."""
    places = np.flatnonzero(is_one)
    groups = number[places]
    return places[np.flatnonzero(np.diff(groups, prepend=-1))] if len(places) else places
