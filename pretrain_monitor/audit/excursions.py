"""Where a finished run's loss stood clear of what it does otherwise, for some rows.

Every height is measured on the run itself at the length that it lasted: sixteen rows 2 sd up are much where noise is
independent, and nothing where it remembers hundreds of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .two_sided import Floats, Rows, TwoSided, running_rank

COARSE_STEPS = 5  # a row that stands for so many optimizer steps is more than one batch, as in live detection
HIGH_SD, FEWEST_HIGH = 4.0, 3  # a stretch: rows this high ...
_GAP = 2  # ... with at most so many lower ones between two of them
_MOST_HIGH = 64  # rows to each side of a peak: those beyond move the trend
_UP_SD = 1.5  # where a stretch that only its mean shows begins and ends
_CLIP = 5.0  # what one row counts at most: a lone one or a pair, however high, does not make a mean of many rows high
_LENGTHS = (2, 3, 4, 8, 16, 32, 64)  # rows; a longer one moves the trend, and is for the rises that last
_FEWEST_STRETCHES = 20  # of a length in a run, to know what is usual at that length
_USUAL_ROWS = 2000  # within which the usual spread of a length is measured


@dataclass(frozen=True, slots=True)
class Excursion:
    """A stretch over the trend; rows count the finite values of a series.

    Args:
        height: at the peak, over the trend, in units of ``TwoSided.x``.
        peak_sd: the same in sd.
        mean_sd: height of the mean of its best length, in sd of means of that length; 0 if none stands out.
        high: number of rows over 4 sd that follow each other closely, the peak among them.
    """

    first: int
    last: int
    peak: int
    height: float
    peak_sd: float
    mean_sd: float
    high: int

    @property
    def rows(self) -> int:
        return self.last - self.first + 1


def excursions(run: TwoSided, scores: Floats, lengths: Rows, least_mean_sd: float) -> list[Excursion]:
    """All stretches with a row over 4 sd, or whose mean stands out, in order; which of them matter is not said.

    Args:
        scores: what ``mean_scores`` gives for the run, as are ``lengths``.
        least_mean_sd: from which height in sd the mean of some rows makes a stretch.
    """
    z = run.z
    marked = z > HIGH_SD
    for first, last in _best_windows(scores, lengths, least_mean_sd):
        # A long window reaches into rows at its ends that are not high themselves.
        up = first + np.flatnonzero(z[first : last + 1] >= min(_UP_SD, float(z[first : last + 1].mean())))
        marked[up[0] : up[-1] + 1] = True
    found = []
    for first, last in _groups(np.flatnonzero(marked), _GAP):
        peak = first + int(np.argmax(z[first : last + 1]))
        # Of the windows that lie on it, and not of all that touch it.
        own = scores[first : last + 1][lengths[first : last + 1] <= last + 1 + _GAP - np.arange(first, last + 1)]
        found.append(
            Excursion(
                first=first,
                last=last,
                peak=peak,
                height=float(run.x[peak] - run.trend[peak]),
                peak_sd=float(z[peak]),
                mean_sd=float(own.max(initial=0.0)),
                high=_high_around(z, peak),
            )
        )
    return found


def mean_scores(z: Floats) -> tuple[Floats, Rows]:
    """For the stretch that begins at each row: its height at the best length, and that length in rows.

    The height of a mean is in sd of all means of that length within some thousand rows, which is never taken to be
    less than that of independent noise.
    """
    n = len(z)
    sums = np.concatenate(([0.0], np.cumsum(np.clip(z, -_CLIP, _CLIP))))
    best, lengths = np.zeros(n), np.zeros(n, dtype=np.int64)
    for length in _LENGTHS:
        if n < _FEWEST_STRETCHES * length:
            break
        means = (sums[length:] - sums[:-length]) / length
        height = (means - float(np.median(means))) / _usual_spread(means, length)
        is_better = height > best[: len(height)]
        best[: len(height)][is_better] = height[is_better]
        lengths[: len(height)][is_better] = length
    return best, lengths


def _usual_spread(means: Floats, length: int) -> Floats:
    """Robust sd of means of neighbouring stretches, at each of them; at least that of independent noise."""
    count = max(1, round(len(means) / max(_USUAL_ROWS, _FEWEST_STRETCHES * length)))
    parts = np.array_split(np.abs(means - float(np.median(means))), count)
    spreads = running_rank(np.array([1.4826 * float(np.median(part)) for part in parts]), 3, 0.5)
    middles = (np.arange(count) + 0.5) * len(means) / count
    return np.asarray(np.maximum(np.interp(np.arange(len(means)), middles, spreads), length**-0.5))


def _high_around(z: Floats, peak: int) -> int:
    first = max(0, peak - _MOST_HIGH)
    groups = _groups(np.flatnonzero(z[first : peak + _MOST_HIGH + 1] > HIGH_SD), _GAP)
    own = next(((a, b) for a, b in groups if a <= peak - first <= b), None)
    return 0 if own is None else int(np.sum(z[first + own[0] : first + own[1] + 1] > HIGH_SD))


def _best_windows(scores: Floats, lengths: Rows, least: float) -> list[tuple[int, int]]:
    """First and last row of the window with the highest score of each group of windows that overlap."""
    starts = np.flatnonzero(scores > least)
    if not len(starts):
        return []
    reach = np.maximum.accumulate(starts + lengths[starts])
    groups = np.split(starts, np.flatnonzero(starts[1:] >= reach[:-1]) + 1)
    best = [int(group[np.argmax(scores[group])]) for group in groups]
    return [(start, start + int(lengths[start]) - 1) for start in best]


def _groups(rows: Rows, gap: int) -> list[tuple[int, int]]:
    """First and last of each group of rows with at most so many missing between two of them."""
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff(rows) > gap + 1)
    firsts, lasts = np.concatenate(([0], cuts + 1)), np.concatenate((cuts, [len(rows) - 1]))
    return list(zip(rows[firsts].tolist(), rows[lasts].tolist(), strict=True))
