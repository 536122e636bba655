"""An incident that was told live, weighed against what the run does otherwise, before and after."""

from __future__ import annotations

import numpy as np

from ..telemetry import Incident, Kind, Status
from .excursions import FEWEST_HIGH, HIGH_SD, Excursion
from .rises import LENGTHS, Rise
from .two_sided import TwoSided
from .whole import ALONE_SD, EARLY_ROWS, LASTING_SD, WITNESSED_SD, Whole

AROUND_ROWS = 8  # before the onset and behind the end of an incident: still the same event
_LOOKS_ON_ROWS = 64  # behind the alert, where an incident has no end
_SLOW = 2  # a rise that took so many times a length is not told from the trend by levels of that length
# A blow-up near the start: sd of the noise of so many rows, some rows after it.
_EARLY_SD, _SETTLES_ROWS, _NOISE_ROWS = 8.0, 16, 200
_LASTING = (Kind.LEVEL_SHIFT, Kind.DRIFT)


def span(whole: Whole, incident: Incident) -> tuple[int, int]:
    """First and last row that may belong to an incident."""
    detected = whole.place(incident.detected_step)
    end = detected + _LOOKS_ON_ROWS if incident.end_step is None else whole.place(incident.end_step)
    first = min(whole.place(incident.onset_step), detected)
    return max(0, first - AROUND_ROWS), max(min(max(end, detected) + AROUND_ROWS, whole.rows - 1), 0)


def weigh(whole: Whole, incident: Incident) -> tuple[bool, str]:
    """Whether an incident of the loss is clear of what the run does otherwise, and the words for it."""
    first, _ = span(whole, incident)
    is_alert, reason = _weigh_on_both_sides(whole, incident)
    return _weigh_early(whole, incident) if not is_alert and first < EARLY_ROWS else (is_alert, reason)


def _weigh_on_both_sides(whole: Whole, incident: Incident) -> tuple[bool, str]:
    run, (first, last) = whole.run, span(whole, incident)
    # What rises long after it was told is another event.
    detected = whole.place(incident.detected_step)
    last = min(last, detected + _LOOKS_ON_ROWS)
    clear = [found for found in whole.clear if found.last >= first and found.first <= detected + AROUND_ROWS]
    lasting = _largest_rise(whole, incident)
    is_lasting = incident.kind in _LASTING
    if clear and not is_lasting:
        return True, clear_words(run, max(clear, key=lambda found: found.peak_sd))
    if lasting is None and is_lasting and not clear:
        return True, "it rose too slowly, or the run is too short, to be held against other stretches of it"
    if lasting is not None and lasting.score >= (LASTING_SD if is_lasting else WITNESSED_SD):
        period = whole.period_steps(lasting)
        if period is not None:
            return False, f"the same rise comes back every {period} steps: a cycle of the data"
        if lasting.is_return and not clear:
            return False, f"the return from a dip: the loss had been as high before, {_level_words(run, lasting)}"
        return True, lasting_words(run, lasting)
    if clear:
        return True, clear_words(run, max(clear, key=lambda found: found.peak_sd))
    start = first + int(np.argmax(whole.scores[first : last + 1]))
    score, rows, top = float(whole.scores[start]), int(whole.lengths[start]), float(whole.z[first : last + 1].max())
    if score >= WITNESSED_SD:
        return True, f"{rows} rows whose mean is {score:.3g} sd of such means over the trend from both sides"
    if whole.is_coarse(first) and top >= ALONE_SD:
        return True, f"a row {top:.3g} sd over the trend from both sides, which stands for many steps"
    if lasting is not None and is_lasting:
        return False, f"nothing lasts: {_level_words(run, lasting)}, {lasting.score:.2g} sd of such changes"
    if rows < FEWEST_HIGH:
        return False, f"single rows, at most {top:.2g} sd over the trend from both sides, as single batches are"
    return False, (
        f"within the run's usual fluctuation: {rows} rows whose mean is {score:.2g} sd of means of {rows} rows, "
        "before and after"
    )


def _weigh_early(whole: Whole, incident: Incident) -> tuple[bool, str]:
    """A blow-up near the start against the noise of the rows after it, since there are few before."""
    first, last = span(whole, incident)
    end = min(last + _SETTLES_ROWS, whole.rows - 1)
    height = float(whole.run.x[first : last + 1].max()) - whole.best_level(first + AROUND_ROWS)
    sds = height / float(np.median(whole.run.sd[end : end + _NOISE_ROWS]))
    said = f"{whole.run.in_words(height)} over the best level before, {sds:.3g} sd of the noise after it"
    return (True, said) if sds >= _EARLY_SD else (False, f"within the run's own noise: {said}")


def _largest_rise(whole: Whole, incident: Incident) -> Rise | None:
    """Of the level from before an incident to after it; None if no length can be compared."""
    first, detected = span(whole, incident)[0], whole.place(incident.detected_step)
    # A level shift is a jump, however late it is told.
    took = max(detected - first - AROUND_ROWS, 0) if incident.kind is Kind.DRIFT else 0
    # What came back lifts no level for longer than it lasted.
    longest = whole.rows
    if incident.status is Status.RECOVERED and incident.end_step is not None:
        longest = max(2 * (whole.place(incident.end_step) - first), LENGTHS[0])
    best: Rise | None = None
    for length in LENGTHS:
        if took > _SLOW * length or length > longest:
            continue
        around = (first - length, detected + length)
        compared = whole.levels.compare(length, took, around)
        if compared is None:
            continue
        near = np.flatnonzero((compared.rows >= around[0]) & (compared.rows <= around[1]))
        if len(near):
            rise = compared.rise(int(near[np.argmax(compared.scores[near])]))
            best = rise if best is None or rise.score > best.score else best
    return best


def clear_words(run: TwoSided, found: Excursion) -> str:
    if found.high < FEWEST_HIGH and found.mean_sd >= WITNESSED_SD:
        return f"{found.rows} rows whose mean is {found.mean_sd:.3g} sd of such means over the trend from both sides"
    rows = f"{found.high} rows over {HIGH_SD:g} sd" if found.high > 1 else "a row"
    return f"{rows}, up to {run.in_words(found.height)} ({found.peak_sd:.3g} sd) over the trend from both sides"


def lasting_words(run: TwoSided, rise: Rise) -> str:
    return f"it lasts: {_level_words(run, rise)}, {rise.score:.3g} sd of how such levels change elsewhere in the run"


def _level_words(run: TwoSided, rise: Rise) -> str:
    return f"the {rise.length} rows after lie {run.in_words(rise.height)} over the {rise.length} before"
