"""Alerts of a finished run: those told live, looked at again with what came after, and what live detection cannot see.

Two witnesses need less than one. What was told live stands if it is also clear of what the run does otherwise, before
and after, at the length it lasted; what looking back finds alone has to stand out by more. Whatever cannot be judged
from both sides, such as a NaN, a divergence or the last rows of a run, stays as it was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..telemetry import Incident, Kind, Status
from .excursions import Excursion
from .reviewed import Reviewed, taken_over
from .rises import LENGTHS, Rise
from .two_sided import Floats, Rows
from .weighing import AROUND_ROWS, clear_words, lasting_words, span, weigh
from .whole import ALONE_SD, EARLY_ROWS, FEWEST_ROWS, Whole

_LAST_ROWS = 64  # of a run: too few to show whether something lasts
_NOT_JUDGED = (Kind.NONFINITE, Kind.DIVERGENCE, Kind.LR_ANOMALY, Kind.RETENTION_LOSS, Kind.PROBE_FAILURE, Kind.PLATEAU)
_SLIGHT = (Kind.BAD_BATCH, Kind.GRAD_SPIKE, Kind.NOISE_CHANGE)  # what is more than this is no longer it


def offline_alerts(incidents: Sequence[Incident], series: Mapping[str, tuple[Rows, Floats]]) -> list[Reviewed]:
    """A verdict on each incident, and on what only looking back finds, in order of onset.

    Args:
        incidents: of the whole run in their final state, information too, whatever the detector was asked for.
        series: steps and values by signal, steps in order. The loss is judged, the gradient norm is a witness, others
            do not count; NaN and infinite values are passed over.
    """
    if "loss" not in series or not len(series["loss"][0]):
        return [taken_over(incident, -1, "no loss to judge it by") for incident in incidents]
    whole = Whole(series["loss"], series.get("grad_norm"))
    verdicts = [_judge(whole, incident) for incident in incidents]
    told = _Told(len(incidents) + len(whole.clear) + len(whole.rises))
    for incident, verdict in zip(incidents, verdicts, strict=True):
        # What a change of the run explains is told too, and no news.
        if verdict.is_alert or incident.evidence.get("changes"):
            told.add(*span(whole, incident), whole.place(incident.detected_step))
    detected = np.array([whole.place(incident.detected_step) for incident in incidents], dtype=np.int64)

    def tell(new: Reviewed, first: int, last: int) -> None:
        """Promote the information that was told between two rows, or add what is new."""
        # That an incident went on for long does not make it the one: it must have been told there.
        there = np.flatnonzero((detected >= first) & (detected <= last)).tolist()
        place = next((k for k in there if _may_be_more(incidents[k], verdicts[k])), None)
        if place is None:
            verdicts.append(new)
        else:
            incident, was = incidents[place], verdicts[place]
            kind = new.kind if incident.kind in _SLIGHT else incident.kind
            verdicts[place] = taken_over(incident, was.row, new.reason, is_alert=True, kind=kind)

    for found in whole.clear:
        if not told.covers(found):
            told.add(found.first - AROUND_ROWS, found.last + AROUND_ROWS, found.last)
            tell(_new_spike(whole, found), found.first - AROUND_ROWS, found.last + 1 + AROUND_ROWS)
    for rise in whole.rises:
        if _is_new(whole, rise, told):
            told.add(rise.row - rise.length, rise.row + rise.length, rise.row)
            tell(_new_level(whole, rise), rise.row - rise.length, rise.row + rise.length)
    return sorted(verdicts, key=lambda verdict: (verdict.onset_step, verdict.detected_step))


class _Told:
    """Rows that alerts account for, and the last row of each that is known to be high.

    Args:
        most: how many there may be.
    """

    def __init__(self, most: int) -> None:
        self._firsts, self._lasts, self._seen = np.zeros((3, most), dtype=np.int64)
        self._count = 0

    def add(self, first: int, last: int, seen: int) -> None:
        k = self._count
        self._firsts[k], self._lasts[k], self._seen[k] = first, last, seen
        self._count += 1

    def near(self, first: int, last: int) -> NDArray[np.int64]:
        """Those that account for some of these rows."""
        k = self._count
        return np.flatnonzero((self._firsts[:k] <= last) & (self._lasts[:k] >= first))

    def covers(self, found: Excursion) -> bool:
        """Whether a stretch is part of an alert; one that rises well after the one before it is an event of its own.

        To be asked in the order of rows.
        """
        near = self.near(found.first, found.last)
        is_part = bool((found.first - self._seen[near] <= AROUND_ROWS).any())
        self._seen[near] = found.last
        return is_part


def _judge(whole: Whole, incident: Incident) -> Reviewed:
    row, kind = whole.row_in_series(incident.detected_step), incident.kind.value
    if not incident.is_alert:
        return taken_over(incident, row, "information, and nothing that came after makes it more")
    if incident.kind in _NOT_JUDGED or incident.signals[0] != "loss":
        return taken_over(incident, row, f"{kind} of {incident.signals[0]}: what came after says nothing of it")
    if whole.rows < FEWEST_ROWS:
        return taken_over(incident, row, f"a loss of {whole.rows} values is too short to know what is usual in it")
    is_cut = incident.status in (Status.OPEN, Status.ENDED_RUN)
    if is_cut and whole.rows - whole.place(incident.onset_step) < _LAST_ROWS:
        return taken_over(incident, row, "the run ended before it could show whether this lasts")
    is_alert, reason = weigh(whole, incident)
    return taken_over(incident, row, reason, is_alert=is_alert)


def _may_be_more(incident: Incident, verdict: Reviewed) -> bool:
    return not verdict.is_alert and incident.kind not in _NOT_JUDGED


def _is_new(whole: Whole, rise: Rise, told: _Told) -> bool:
    """Whether a level that rose is an alert: one for ever, told by none, and no part of a cycle."""
    if rise.score_of_all < ALONE_SD or rise.is_return or rise.length == LENGTHS[0] or rise.row < EARLY_ROWS:
        return False
    if len(told.near(rise.row - rise.length, rise.row + rise.length)):
        return False
    return whole.period_steps(rise) is None


def _new_spike(whole: Whole, found: Excursion) -> Reviewed:
    end = found.last + 1
    end_step = int(whole.run.steps[end]) if end < whole.rows else None
    return _new(whole, found.first, found.peak, end_step, Kind.SPIKE, clear_words(whole.run, found))


def _new_level(whole: Whole, rise: Rise) -> Reviewed:
    return _new(whole, rise.row, rise.row, None, Kind.LEVEL_SHIFT, lasting_words(whole.run, rise))


def _new(whole: Whole, onset: int, told_at: int, end_step: int | None, kind: Kind, reason: str) -> Reviewed:
    return Reviewed(
        onset_step=int(whole.run.steps[onset]),
        detected_step=int(whole.run.steps[told_at]),
        end_step=end_step,
        row=int(whole.run.rows[told_at]),
        kind=kind,
        is_alert=True,
        was_alert=False,
        reason=reason,
    )
