"""Rises of a finished run's loss that lasted: the level after against the level before, at several lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .two_sided import Floats, Rows, TwoSided, running_median, running_rank

LENGTHS = (32, 128, 512, 2048)  # rows before and after that are compared
_PLACES = 4  # looked at in each length
_FEWEST_LENGTHS = 12  # of a length in a run, to know how its levels change without a cause
_LOCAL = 49  # places whose median is what the trend does there: six lengths to each side, of which an event has two
_USUAL = 201  # places whose spread is the usual one
_NEEDS = 2 * _USUAL  # places to each side of one that have a say in its score, and some more
# The spread is read off the smaller quarter of all changes: in a run of many incidents half of them are no quiet ones.
_NORMAL_QUARTER, _NORMAL_HALF = 0.3186, 0.6745  # sd below which that part of a normal variable's distances from 0 lies
_STANDS_OUT, _FEWEST_QUIET, _ROUNDS = 6.0, 24, 3  # then without those beyond 6 sd, unless few places are left
_CLIP = 4.0  # sd that one row counts at most
_LOOKS_BACK = 8 * _PLACES  # from the return from a dip to where it began, at most
_DIP, _CLEAR_SD = 0.5, 5.0  # a dip has at least half the depth of the rise out of it, and is clear


@dataclass(frozen=True, slots=True)
class Rise:
    """A level that rose between two stretches of ``length`` rows; rows count the finite values of a series.

    Args:
        row: the first of the stretch after.
        height: of the level, in units of ``TwoSided.x``, beyond what the trend did around it.
        score: the same in sd of how levels of this length change elsewhere in the run, where nothing stands out.
        score_of_all: the same, incidents and all.
        is_return: the loss had been as high before, and came back from a dip.
    """

    row: int
    length: int
    height: float
    score: float
    score_of_all: float
    is_return: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """The same comparison of levels at many places of a run, all arrays of shape (places,).

    Args:
        rows: first of the stretch after.
        heights: of the rise.
        scores: the same in sd of such rises, where nothing stands out.
        scores_of_all: the same, in sd of all of them.
    """

    length: int
    rows: Rows
    heights: Floats
    scores: Floats
    scores_of_all: Floats

    def rise(self, place: int) -> Rise:
        return Rise(
            int(self.rows[place]),
            self.length,
            float(self.heights[place]),
            float(self.scores[place]),
            float(self.scores_of_all[place]),
            self._is_return(place),
        )

    def _is_return(self, place: int) -> bool:
        """Whether the level fell by the like shortly before, and not as the end of an earlier rise."""
        least = _DIP * float(self.heights[place])
        is_fall = (self.heights <= -least) & (self.scores <= -_CLEAR_SD)
        falls = np.flatnonzero(is_fall[max(0, place - _LOOKS_BACK) : max(0, place - _PLACES)])
        if not len(falls):
            return False
        fall = max(0, place - _LOOKS_BACK) + int(falls[0])
        is_rise = (self.heights >= least) & (self.scores >= _CLEAR_SD)
        return not is_rise[max(0, fall - _LOOKS_BACK) : fall].any()


class Levels:
    """Levels of all stretches of a run; one row far off, or a pair, does not make a level."""

    def __init__(self, run: TwoSided) -> None:
        self._rows = len(run.x)
        self._noise = float(np.median(run.sd)) if self._rows else 0.0
        tamed = run.trend + np.clip(run.x - run.trend, -_CLIP * run.sd, _CLIP * run.sd)
        self._sums = np.concatenate(([0.0], np.cumsum(tamed)))

    def rises(self, least: float) -> list[Rise]:
        """Those whose score reaches ``least``, at most one in two lengths at each length, in order of row."""
        found = []
        for length in LENGTHS:
            compared = self.compare(length)
            if compared is None:
                continue
            for group in _groups(np.flatnonzero(compared.scores >= least)):
                found.append(compared.rise(int(group[np.argmax(compared.scores[group])])))
        return sorted(found, key=lambda rise: rise.row)

    def compare(self, length: int, gap: int = 0, around: tuple[int, int] | None = None) -> Compared | None:
        """Levels before and after at every quarter of a length; None in a run too short to know how they change.

        Args:
            gap: rows that a rise may take, between the two stretches; ``rows`` are then the first of it.
            around: only what is needed to know the places between these two rows, which costs less.
        """
        if self._rows < _FEWEST_LENGTHS * (length + gap):
            return None
        rows = np.arange(length, self._rows - length - gap + 1, length // _PLACES)
        if around is not None:
            near = np.searchsorted(rows, around)
            rows = rows[max(0, int(near[0]) - _NEEDS) : int(near[1]) + _NEEDS]
        return self._compare(rows, length, gap)

    def _compare(self, rows: Rows, length: int, gap: int) -> Compared:
        sums = self._sums
        level = (sums[rows] - sums[rows - length]) / length
        change = (sums[rows + gap + length] - sums[rows + gap]) / length - level
        # What the trend itself does around there is no rise.
        heights = change - running_median(change, _LOCAL + 2 * _PLACES * (gap // length))
        noise = self._noise * (2.0 / length) ** 0.5
        spread = np.maximum(_usual_spread(np.abs(heights), 2 * _PLACES + gap * _PLACES // length), noise)
        spread_of_all = np.maximum(running_rank(np.abs(heights), _USUAL, 0.5) / _NORMAL_HALF, spread)
        return Compared(length, rows, heights, heights / spread, heights / spread_of_all)


def _usual_spread(distances: Floats, reach: int) -> Floats:
    """Sd of changes that mean nothing: measured again without those that stand out, and all that overlap with them.

    Args:
        reach: places to each side that share rows with a place.
    """
    places = np.arange(len(distances))
    quiet = places
    spread = distances
    for _ in range(_ROUNDS):
        spread = np.interp(places, quiet, running_rank(distances[quiet], _USUAL, 0.25) / _NORMAL_QUARTER)
        stands_out = np.concatenate(([0], np.cumsum(distances > _STANDS_OUT * spread)))
        around = stands_out[np.minimum(places + reach + 1, len(places))] - stands_out[np.maximum(places - reach, 0)]
        quiet = np.flatnonzero(around == 0)
        if len(quiet) < _FEWEST_QUIET:
            break
    return spread


def _groups(places: Rows) -> list[Rows]:
    return np.split(places, np.flatnonzero(np.diff(places) > 2 * _PLACES) + 1) if len(places) else []
