"""Single bad batches: how often is one told, and is it one?

One loss far out of line, and the next is back: nearly always odd data in one batch, and no reason to act. Our detector
tells it as information, kind ``bad_batch``, which is no alert and outside its budget of false alarms, so that no other
table counts it. Here it is counted against the rows that are known to be such: the single-row events that the labels of
the corpus call harmless, and single losses raised by a known size in clean stretches of the same curves. Labels were
made where a loss stood ten robust sd above a running median that knows what comes after, in some of the curves only: a
batch that is told elsewhere is not wrong for that. In the healthy runs of the zoo no batch is known to be bad.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .curves import Curve, Finding, TrueEvent, Verdict
from .inject import clean_stretch
from .ours import OurDetector
from .parallel import spread
from .plan import Signal

KIND = "bad_batch"
SIZES = ((6, 10), (10, 20), (20, 40))  # in robust sd of the noise around the row

_PLANTED = "planted"
_GAP = (300, 600)  # rows to the next planted one: what one does to the detector is over when the next comes


@dataclass(frozen=True, slots=True)
class BadBatches:
    """What was told of single bad batches on one curve or many; counts add up.

    Args:
        told: incidents of kind ``bad_batch`` that are information.
        elsewhere: those of them at no row that is known to be a harmless event.
        known: single rows known to be bad batches.
        met: known rows that are told as that.
        alerted: known rows at which an alert is raised instead. The rest of them is passed over.
    """

    rows: int = 0
    told: int = 0
    elsewhere: int = 0
    known: int = 0
    met: int = 0
    alerted: int = 0

    def __add__(self, other: BadBatches) -> BadBatches:
        return BadBatches(
            self.rows + other.rows,
            self.told + other.told,
            self.elsewhere + other.elsewhere,
            self.known + other.known,
            self.met + other.met,
            self.alerted + other.alerted,
        )


def bad_batches(curves: Sequence[Curve], *, jobs: int = 1) -> BadBatches:
    """Our detector on all of the curves; where some were planted, only these count as known."""
    return sum(spread(_of_curve, curves, jobs), BadBatches())


def count(curve: Curve, findings: Sequence[Finding]) -> BadBatches:
    """Match findings with the single-row events of their curve, row by row: a window would forgive what is near."""
    told = [finding for finding in findings if finding.kind == KIND and not finding.is_alert]
    alerts = [finding for finding in findings if finding.is_alert]
    harmless = [event for event in curve.events if event.verdict is Verdict.HARMLESS]
    single = [event for event in harmless if event.kind == KIND and event.first == event.last]
    known = [event for event in single if event.group == _PLANTED] or single
    met = [event for event in known if any(_is_at(finding, event) for finding in told)]
    alerted = [event for event in known if event not in met and any(_is_at(finding, event) for finding in alerts)]
    return BadBatches(
        rows=curve.rows,
        told=len(told),
        elsewhere=sum(not any(_is_at(finding, event) for event in harmless) for finding in told),
        known=len(known),
        met=len(met),
        alerted=len(alerted),
    )


def planted(corpus: Sequence[Curve], sizes: tuple[float, float], *, seed: int = 0) -> Iterator[Curve]:
    """Clean stretches of real curves in which single losses are raised, some hundred rows apart.

    Args:
        corpus: whole curves, not cut.
        sizes: least and largest height, in robust sd of the noise around the row. The gradient norm stays as it is.
    """
    for stretch in (stretch for curve in corpus if (stretch := clean_stretch(curve)) is not None):
        rng = np.random.default_rng((seed, int(sizes[0]), zlib.crc32(stretch.name.encode())))
        rows = np.cumsum(rng.integers(*_GAP, size=stretch.rows // _GAP[0]))
        rows = rows[rows < stretch.rows - 1]
        heights = rng.uniform(*sizes, size=len(rows))
        loss = Signal.of(stretch.loss)
        added = np.zeros(stretch.rows)
        added[rows] = heights * loss.sd[rows]
        events = [
            TrueEvent(row, row, KIND, Verdict.HARMLESS, _PLANTED, height)
            for row, height in zip(rows.tolist(), heights.tolist(), strict=True)
        ]
        yield replace(stretch, loss=loss.raw(added), events=(*stretch.events, *events))


def _of_curve(curve: Curve) -> BadBatches:
    return count(curve, OurDetector().detect(curve))


def _is_at(finding: Finding, event: TrueEvent) -> bool:
    """Whether it was raised in the event or puts its beginning there: an alert may take some rows."""
    return any(row is not None and event.first <= row <= event.last for row in (finding.row, finding.onset))
