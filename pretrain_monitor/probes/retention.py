"""Is a domain being forgotten? Every round of probes is held against the best one before it, document by document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..telemetry import spell_nonfinite
from .base import Scores
from .course import Course, Fluctuation
from .paired import PairedChange, holm, is_per_byte, level, paired_change

# Of a level that falls with the 20th root of the compute (Kaplan et al. 2020), one percent is what a fifth more buys.
SMALLEST_LOSS = 0.01
# That a run's own fluctuation makes a healthy domain look lost in a round, and in two in a row: a run has some hundred
# rounds of a domain.
_CHANCE = 2e-4
_OVER = 0.5  # of the rise from which it counted: a loss below it is over, and began after the last round below it
_DIGITS = 6  # of nats, as the run log keeps them: a resumed run must come to the same verdicts
_LEAST_LEVEL = 1e-6  # keeps the log of a level of zero, as for a text known by heart, from being infinite


@dataclass(frozen=True, slots=True)
class Change:
    """Where a domain stands in a round, against its best round so far and against the one before this.

    Args:
        domain: as in ``heldout/law``.
        metric: name of the value that is compared: bits per byte, or nats per token where bytes are unknown.
        value: NaN if it could not be measured.
        best: smallest value of the rounds before; of a first round the value itself.
        first: value of the first round.
        change: value less best.
        lower: of the 95 % interval over documents for ``change``, as is ``upper``; None where there is no test.
        p: chance that documents alone make it look worse than the best was without its luck, one-sided.
        p_adjusted: the same, adjusted for all domains of the round (Holm 1979).
        relative: change as a share of the best.
        limit: relative change from which it counts: beyond what the run does by itself from one round to the next.
        wobble: standard deviation of what it does by itself, as a share of the level.
        previous_change: value less that of the round before.
        documents: that were compared.
        is_loss: worse than the best in documents and beyond the limit, or not back from there.
        good_step: newest round that was not clearly worse than the best one.
        is_first: nothing was known of these documents before this round.
        note: what a person should know about the comparison.
    """

    domain: str
    metric: str
    step: int
    value: float
    best: float
    best_step: int
    first: float
    first_step: int
    documents: int
    good_step: int
    change: float = 0.0
    lower: float | None = None
    upper: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    relative: float = 0.0
    limit: float | None = None
    wobble: float | None = None
    previous_step: int | None = None
    previous_change: float | None = None
    previous_lower: float | None = None
    previous_upper: float | None = None
    is_loss: bool = False
    is_first: bool = False
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict with the field names above; NaN is spelled as a string."""
        record: dict[str, Any] = spell_nonfinite(asdict(self))
        return record


class _Round(NamedTuple):
    """What a course takes in."""

    step: int
    x: float
    wobble: float
    learning_rate: float | None


@dataclass(slots=True)
class _Past:
    """What is kept of a domain."""

    first: float
    first_step: int
    best: Scores
    best_step: int
    previous: Scores
    previous_step: int
    good_step: int
    course: Course
    is_lost: bool = False
    passed: float = 0.0  # rise of the log that it passed when it was lost
    suspect: _Round | None = None  # for the course, if the next one does not confirm it


class RetentionTracker:
    """Keeps the best round of each domain and tells when a later one is worse.

    A loss passes three tests. Over the documents, a paired test against the best round at ``alpha``, adjusted for the
    domains of the round. Over the rounds, a rise that the run does not make by itself: what separates healthy
    checkpoints is read from the course so far of this domain and its like, and allowed for up to a chance of two in
    ten thousand, for a single round and for the mean of two in a row; that the best of many rounds was lucky is
    allowed for too. And it has a size worth telling. A domain that is lost stays so until it is back below
    half of the limit that it passed, or not significantly worse.

    The state is a pure function of the rounds: after a resume they are fed again.

    >>> import numpy as np
    >>> tracker = RetentionTracker()
    >>> sizes = np.full(50, 1000)
    >>> difficulty = np.linspace(500, 900, 50)
    >>> for step, factor in [(100, 1.0), (200, 0.97), (300, 0.95), (400, 1.1)]:
    ...     nats = difficulty * factor * (1 + 0.01 * np.sin(np.arange(50) * step))
    ...     (change,) = tracker.update(step, {"heldout/law": Scores(nats, sizes, sizes, "law")})
    >>> change.is_loss, change.best_step, f"{change.relative:+.0%}"
    (True, 300, '+16%')

    Args:
        alpha: of the test over documents.
        smallest: relative change below which nothing is told.
    """

    def __init__(self, alpha: float = 0.01, smallest: float = SMALLEST_LOSS) -> None:
        self.alpha = alpha
        self.smallest = smallest
        self._domains: dict[str, _Past] = {}

    def update(self, step: int, scores: Mapping[str, Scores], learning_rate: float | None = None) -> list[Change]:
        """Take in one round, of some or all domains; where each of them stands.

        Args:
            learning_rate: of the step: a run wobbles less when it is cut. None if nobody knows it.
        """
        changes: dict[str, Change] = {}
        compared: dict[str, _Compared] = {}
        scores = {domain: replace(now, nats=np.round(now.nats, _DIGITS)) for domain, now in scores.items()}
        for domain, now in scores.items():
            past = self._domains.get(domain)
            if not math.isfinite(level(now)):
                changes[domain] = _unmeasured(domain, step, now, past)
            elif past is None or past.best.key != now.key or len(past.best.nats) != len(now.nats):
                changes[domain] = self._begin(domain, step, now, is_known=past is not None)
            else:
                # Domains of a kind wobble alike: texts like texts, tasks like tasks.
                group = [self._domains[other].course for other in self._domains if _kind(other) == _kind(domain)]
                usual = past.course.fluctuation(group, learning_rate)
                compared[domain] = _Compared.of(now, past, usual, self.smallest)
        adjusted = holm({domain: found.p for domain, found in compared.items() if found.p is not None})
        for domain, found in compared.items():
            changes[domain] = self._judge(domain, step, scores[domain], found, adjusted.get(domain), learning_rate)
        return [changes[domain] for domain in scores]

    def _begin(self, domain: str, step: int, now: Scores, *, is_known: bool) -> Change:
        course = Course()
        course.add(step, _log(level(now)))
        value = level(now)
        self._domains[domain] = _Past(value, step, now, step, now, step, step, course)
        note = "its documents are not those of the rounds before: it is followed afresh from here" if is_known else ""
        return Change(
            domain=domain,
            metric=_metric(domain, now),
            step=step,
            value=value,
            best=value,
            best_step=step,
            first=value,
            first_step=step,
            documents=_documents(now),
            good_step=step,
            is_first=True,
            note=note,
        )

    def _judge(
        self,
        domain: str,
        step: int,
        now: Scores,
        found: _Compared,
        p_adjusted: float | None,
        learning_rate: float | None,
    ) -> Change:
        past = self._domains[domain]
        limit, is_suspect = found.limit, False
        if past.is_lost:
            limit = past.passed
            is_still_worse = found.to_best.p is not None and found.to_best.p <= self.alpha
            is_loss = is_still_worse and found.rise > _OVER * limit
        else:
            is_worse = p_adjusted is not None and p_adjusted <= self.alpha
            is_suspect = is_worse and found.rise > found.suspicious
            is_loss = is_worse and found.rise > limit
            if is_suspect and not is_loss and past.suspect is not None:
                of_two = (found.rise + past.suspect.x - past.course.best) / 2
                is_loss, limit = of_two > found.limit_of_two, found.limit_of_two
        if not is_loss and (found.rise <= _OVER * found.limit or past.is_lost):
            past.good_step = step
        to_best, to_previous = found.to_best, found.to_previous
        change = Change(
            domain=domain,
            metric=_metric(domain, now),
            step=step,
            value=to_best.after,
            best=to_best.before,
            best_step=past.best_step,
            first=past.first,
            first_step=past.first_step,
            documents=to_best.documents,
            good_step=past.good_step,
            change=to_best.change,
            lower=to_best.lower,
            upper=to_best.upper,
            p=found.p,
            p_adjusted=p_adjusted,
            relative=math.expm1(found.rise),
            limit=math.expm1(limit),
            wobble=found.wobble,
            previous_step=past.previous_step,
            previous_change=to_previous.change,
            previous_lower=to_previous.lower,
            previous_upper=to_previous.upper,
            is_loss=is_loss,
            note="" if found.p is not None else "one document: no test",
        )
        past.previous, past.previous_step = now, step
        this = _Round(step, _log(level(now)), found.wobble, learning_rate)
        self._follow(past, now, this, found.rise, is_loss=is_loss, is_suspect=is_suspect)
        if is_loss:
            past.passed = limit
        past.is_lost = is_loss
        return change

    def _follow(self, past: _Past, now: Scores, this: _Round, rise: float, *, is_loss: bool, is_suspect: bool) -> None:
        """Go on with the course of a domain, but for rounds that are no part of what it does by itself."""
        held, past.suspect = past.suspect, None
        if is_loss:
            past.course.interrupt()
            return
        if held is not None:
            past.course.add(*held)
        if is_suspect:
            # Taken in at once it would make the wobble look so large that the next one cannot confirm it.
            past.suspect = this
        else:
            past.course.add(*this)
            if rise <= 0:
                past.best, past.best_step = now, this.step


@dataclass(frozen=True, slots=True)
class _Compared:
    """One domain of a round beside its best and its previous one; rises are of logs."""

    to_best: PairedChange
    to_previous: PairedChange
    p: float | None
    rise: float
    limit: float
    limit_of_two: float
    suspicious: float
    wobble: float

    @classmethod
    def of(cls, now: Scores, past: _Past, usual: Fluctuation, smallest: float) -> _Compared:
        to_best = paired_change(past.best, now)
        least = math.log1p(smallest)
        return cls(
            to_best=to_best,
            to_previous=paired_change(past.previous, now),
            # Worse by more than the best round would be if it were measured again.
            p=to_best.p_beyond(to_best.before * math.expm1(usual.luck)),
            rise=_log(to_best.after) - past.course.best,
            limit=max(usual.limit(_CHANCE), least),
            limit_of_two=max(usual.limit(_CHANCE, rounds=2), least),
            suspicious=max(usual.luck + usual.sd(), least),
            wobble=usual.wobble,
        )


def _unmeasured(domain: str, step: int, now: Scores, past: _Past | None) -> Change:
    """A round that says nothing: it neither finds nor ends a loss, and nothing is compared with it later."""
    best, best_step = (math.nan, step) if past is None else (level(past.best), past.best_step)
    first, first_step = (math.nan, step) if past is None else (past.first, past.first_step)
    note = "nothing was scored" if not _documents(now) else "not finite"
    return Change(
        domain=domain,
        metric=_metric(domain, now),
        step=step,
        value=math.nan,
        best=best,
        best_step=best_step,
        first=first,
        first_step=first_step,
        documents=_documents(now),
        good_step=step if past is None else past.good_step,
        change=math.nan,
        relative=math.nan,
        is_loss=past is not None and past.is_lost,
        note=note,
    )


def _kind(domain: str) -> str:
    return domain.partition("/")[0]


def _metric(domain: str, scores: Scores) -> str:
    if not is_per_byte(scores):
        return f"{domain}/loss"
    return f"{domain}/bits_per_byte" if scores.right is None else f"{domain}/gold_bits_per_byte"


def _documents(scores: Scores) -> int:
    return int((scores.tokens > 0).sum())


def _log(value: float) -> float:
    return math.log(max(value, _LEAST_LEVEL))
