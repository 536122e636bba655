"""The course of a domain's level over the rounds of a run, and how far it wobbles from one round to the next.

A step of SGD moves all documents of a domain together, so that two checkpoints differ by more than a paired test over
documents allows for: in small models by .4 to 1 % of the level where that test sees .3 %, and of healthy rounds it
calls up to one in six a loss. How much a run wobbles is its own affair, and is read from its course.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

_USUAL = 0.005  # wobble of a run of which nothing is known yet, as a share of the level ...
_USUAL_COUNTS = 5.0  # ... and how many independent departures this is worth
_GROUP_COUNTS = 30.0  # at most; the same for what is known of all domains together
_APART_COUNTS = 2.0  # the same for a domain that is noisier: it is soon believed, one that is quieter is not
_EFFICIENCY = 0.5  # neighbouring departures share rounds: they are worth half as many (Gasser et al. 1986)
_CLIP = 3.0  # robust standard deviations; a single odd round says nothing of the usual one
_MAD_TO_SD = 1.4826
_KEPT_DEPARTURES = 16
_FADING = 0.85  # of a departure with each one after it: a run becomes quieter as it learns and as its rate decays
_KEPT_LEVELS = 64
_COMPETES = 3.0  # standard deviations above the best, within which a round might as well have been the best
_SLOPES, _STEEPER, _FALL = 3, 3.0, -0.08  # so much steeper than so many before, and by so much in one round
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Fluctuation:
    """What a rise over the best round may come to when nothing is lost, in logs of the level.

    Args:
        luck: by how much the best round is likely to have been lucky, because it was picked as the best.
        sd: of a rise around that.
        degrees_of_freedom: that the estimate has.
    """

    luck: float
    sd: float
    degrees_of_freedom: float


class Course:
    """Logarithms of a domain's level, round by round, in constant memory.

    >>> course = Course()
    >>> for step, x in [(100, -0.10), (200, -0.11), (400, -0.12), (800, -0.13)]:
    ...     course.add(step, x)
    >>> course.best, round(course.fluctuation([course]).sd, 4)
    (-0.13, 0.0064)
    """

    def __init__(self) -> None:
        self.best = math.inf
        self._levels: deque[float] = deque(maxlen=_KEPT_LEVELS)
        self._departures: deque[float] = deque(maxlen=_KEPT_DEPARTURES)
        self._slopes: deque[float] = deque(maxlen=_SLOPES)  # against the log of the step
        self._newest: deque[tuple[float, float]] = deque(maxlen=3)  # log of the step, log of the level

    def add(self, step: int, x: float) -> None:
        """Take in a round in which nothing was lost."""
        self.best = min(self.best, x)
        self._levels.append(x)
        time = math.log(step + 1)
        if self._newest and self._newest[-1][0] >= time:
            self._newest.pop()  # measured twice at one step
        if self._newest and self._has_turned(time, x):
            self.interrupt()
        self._newest.append((time, x))
        if len(self._newest) == 3:
            self._departures.append(_departure(*self._newest))

    def _has_turned(self, time: float, x: float) -> bool:
        """Whether the domain has begun to be learned anew, as when the data switch to it: that is no wobble."""
        last_time, last = self._newest[-1]
        slope = (x - last) / (time - last_time)
        has_turned = len(self._slopes) == _SLOPES and slope < _STEEPER * min(self._slopes) and x - last < _FALL
        self._slopes.append(slope)
        return has_turned

    def interrupt(self) -> None:
        """A round in which something was lost is no part of the course, nor is the way to it and back."""
        self._newest.clear()

    def _weighted(self) -> list[tuple[float, float]]:
        """Size of each departure, and what it counts."""
        return [(abs(e), _FADING**age) for age, e in enumerate(reversed(self._departures))]

    def fluctuation(self, group: Iterable[Course]) -> Fluctuation:
        """What to expect of the next round, as far as the rounds before it tell.

        Args:
            group: courses that are likely to wobble alike, this one among them: a domain has few rounds to learn from.
        """
        own = _mean_square(self._weighted())
        others = _mean_square([e for course in group if course is not self for e in course._weighted()])
        # What is usual is older than all that was seen, and is forgotten with the oldest of that.
        older = _USUAL_COUNTS * (1 - len(self._departures) / _KEPT_DEPARTURES)
        value, counts = _mixed(others, (_USUAL**2, older))
        counts = min(counts, _GROUP_COUNTS)
        alike = _mixed(own, (value, counts))
        apart = _mixed(own, (value, min(counts, _APART_COUNTS)))
        wobble, freedom = math.sqrt(max(alike[0], apart[0])), alike[1]
        m = sum(x < self.best + _COMPETES * wobble for x in self._levels)
        if m < 2:
            return Fluctuation(0.0, wobble * math.sqrt(2), freedom)
        # The smallest of m numbers lies so far below their mean (Blom 1958), with a variance of pi^2 / (12 log m).
        luck = wobble * _NORMAL.inv_cdf((m - 0.375) / (m + 0.25))
        sd = wobble * math.sqrt(1 + min(math.pi**2 / (12 * math.log(m)), 1.0))
        return Fluctuation(luck, sd, freedom)


def _departure(*points: tuple[float, float]) -> float:
    """How far the middle one of three rounds is from the line through the others, in units of one round's sd.

    Against the log of the step, in which learning curves are nearly straight (Gasser, Sroka and Jennen-Steinmetz 1986).
    """
    (t0, x0), (t1, x1), (t2, x2) = points
    share = (t2 - t1) / (t2 - t0)
    return (share * x0 + (1 - share) * x2 - x1) / math.sqrt(1 + share**2 + (1 - share) ** 2)


def _mean_square(departures: list[tuple[float, float]]) -> tuple[float, float]:
    """Weighted mean square with a clipped tail, and how many independent departures it is worth (Kish 1965)."""
    if not departures:
        return 0.0, 0.0
    departures = sorted(departures)
    total = sum(weight for _, weight in departures)
    below = accumulate(weight for _, weight in departures)
    middle = next(size for (size, _), share in zip(departures, below, strict=True) if share >= total / 2)
    limit = _CLIP * _MAD_TO_SD * middle
    mean = sum(weight * min(size, limit) ** 2 for size, weight in departures) / total
    return mean, _EFFICIENCY * total**2 / sum(weight**2 for _, weight in departures)


def _mixed(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Two estimates of one mean square, each with what it is worth, as one."""
    counts = a[1] + b[1]
    return ((a[0] * a[1] + b[0] * b[1]) / counts if counts else 0.0), counts
