"""The course of a domain's level over the rounds of a run, and how far it wobbles from one round to the next.

A step of SGD moves all documents of a domain together, so that two checkpoints differ by more than a paired test over
documents allows for: in small models by .4 to 1 % of the level where that test sees .3 %, and of healthy rounds it
calls up to one in six a loss. How much a run wobbles is its own affair, and is read from its course.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .paired import t_quantile

_USUAL = 0.005  # wobble of a run of which nothing is known yet, as a share of the level ...
_USUAL_COUNTS = 5.0  # ... and how many independent departures this is worth
_GROUP_COUNTS = 4.0  # at most; the same for what is known of all domains together
_EFFICIENCY = 0.5  # neighbouring departures share rounds: they are worth half as many (Gasser et al. 1986)
_CLIP = 3.0  # robust standard deviations; a single odd round says nothing of the usual one
_MAD_TO_SD = 1.4826
_USUAL_LASTS = 16  # departures after which nothing is left of what is usual
_KEPT_DEPARTURES = 40
_FADING = 0.97  # of a departure with each one after it: a run becomes quieter as it learns
_QUIETER, _LOUDER = 0.1, 2.0  # what a change of the learning rate may do to the wobble
_LINE = 8  # rounds through which a line is laid to say where the course stands
_FLAT = 4  # rounds of which the mean says so where the course does not fall
_TURN, _FALL = 5.0, 0.02  # so many wobbles below the line of the last two, and so far below the last, is no wobble


@dataclass(frozen=True, slots=True)
class Fluctuation:
    """What a rise over the best round may come to when nothing is lost, in logs of the level.

    Args:
        luck: by how much the best round lies below where the course stood at its lowest.
        wobble: standard deviation of a round around the course.
        variance: of where the course stood, in variances of a round.
        degrees_of_freedom: that the estimate has.
    """

    luck: float
    wobble: float
    variance: float
    degrees_of_freedom: float

    def sd(self, rounds: int = 1) -> float:
        """Standard deviation of the mean rise of so many rounds around ``luck``."""
        return self.wobble * math.sqrt(1 / rounds + self.variance)

    def limit(self, chance: float, rounds: int = 1) -> float:
        """What the mean rise of so many rounds exceeds with this chance (Student 1908)."""
        return self.luck + t_quantile(1 - chance, self.degrees_of_freedom) * self.sd(rounds)


class Course:
    """Logarithms of a domain's level, round by round, in constant memory.

    >>> course = Course()
    >>> for step, x in [(100, -0.10), (200, -0.11), (400, -0.12), (800, -0.13)]:
    ...     course.add(step, x)
    >>> course.best, round(course.fluctuation([course]).wobble, 4)
    (-0.13, 0.0045)
    """

    def __init__(self) -> None:
        self.best = math.inf
        self._lowest = math.inf, 1.0  # where the course stood at its lowest, and the variance of that in wobbles
        self._departures: deque[tuple[float, float | None]] = deque(maxlen=_KEPT_DEPARTURES)  # with the rate then
        self._newest: deque[tuple[float, float]] = deque(maxlen=_LINE)  # log of the step, log of the level

    def add(self, step: int, x: float, wobble: float = _USUAL, learning_rate: float | None = None) -> None:
        """Take in a round in which nothing was lost.

        Args:
            wobble: of the course so far.
            learning_rate: None if nobody knows it.
        """
        self.best = min(self.best, x)
        time = math.log(step + 1)
        if self._newest and self._newest[-1][0] >= time:
            self._newest.pop()  # measured twice at one step
        if self._has_turned(time, x, wobble):
            self.interrupt()
        self._newest.append((time, x))
        if len(self._newest) >= 3:
            self._departures.append((_departure(*list(self._newest)[-3:]), learning_rate))
        self._lowest = min(self._lowest, _stand(self._newest))

    def _has_turned(self, time: float, x: float, wobble: float) -> bool:
        """Whether the domain has begun to be learned anew, as when the data or the learning rate switch."""
        if len(self._newest) < 2:
            return False
        (before_time, before), (last_time, last) = list(self._newest)[-2:]
        expected = last + (last - before) * (time - last_time) / (last_time - before_time)
        return x < min(expected, last) - _TURN * wobble and x < last - _FALL

    def interrupt(self) -> None:
        """A round in which something was lost is no part of the course, nor is the way to it and back."""
        self._newest.clear()

    def _weighted(self, learning_rate: float | None) -> list[tuple[float, float]]:
        """Size that each departure would have at this learning rate, and what it counts."""
        return [
            (abs(e) * _louder(learning_rate, then), _FADING**age)
            for age, (e, then) in enumerate(reversed(self._departures))
        ]

    def fluctuation(self, group: Iterable[Course], learning_rate: float | None = None) -> Fluctuation:
        """What to expect of the next round, as far as the rounds before it tell.

        Args:
            group: courses that are likely to wobble alike, this one among them: a domain has few rounds to learn from.
            learning_rate: of the round; None if nobody knows it.
        """
        own = _mean_square(self._weighted(learning_rate))
        others = _mean_square([e for course in group if course is not self for e in course._weighted(learning_rate)])
        # What is usual is older than all that was seen, and is forgotten with the oldest of that.
        older = _USUAL_COUNTS * max(1 - len(self._departures) / _USUAL_LASTS, 0.0)
        alike = others[0], min(others[1], _GROUP_COUNTS)
        square, freedom = _mixed(_mixed(own, alike), (_USUAL**2, older))
        wobble = math.sqrt(square)
        stood, variance = self._lowest
        # The lowest of several is likely to stand too low by its own error.
        luck = stood + wobble * math.sqrt(variance) - self.best
        return Fluctuation(max(luck, 0.0), wobble, variance, freedom)


def _louder(now: float | None, then: float | None) -> float:
    """How much more a run wobbles at one learning rate than at another: by the root (Mandt, Hoffman and Blei 2017).

    Of 14 small trainings with AdamW, those with a rate that falls to a tenth: by the power of .6.
    """
    if now is None or then is None or not (0 < now < math.inf and 0 < then < math.inf):
        return 1.0
    return min(max(math.sqrt(now / then), _QUIETER), _LOUDER)


def _stand(newest: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a course stands after these rounds, and the variance of that in those of a round.

    At the end of the line through them, or, where it does not fall, in the mean of the last ones: what is learned is
    not lost in a healthy run.
    """
    n = len(newest)
    if n < 3:
        return newest[-1][1], 1.0
    time, level = (sum(values) / n for values in zip(*newest, strict=True))
    spread = sum((t - time) ** 2 for t, _ in newest)
    slope = sum((t - time) * (x - level) for t, x in newest) / spread
    if slope >= 0:
        last = [x for _, x in newest][-_FLAT:]
        return sum(last) / len(last), 1 / len(last)
    reach = newest[-1][0] - time
    return level + slope * reach, 1 / n + reach**2 / spread


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
