"""Looking at an open incident again: where it began, how far it went, what it is, and whether it still goes on."""

from __future__ import annotations

import math

import numpy as np

from ..telemetry import Kind
from .alarm import Chart
from .bank import SignalBank
from .changepoint import RAISED_SD, FrozenBaseline, raised_segments, segments, span
from .classify import classify_loss
from .history import COARSE_STEPS, KEPT_ROWS
from .noise import has_grown, noise_span
from .open_incident import OpenIncident
from .residual import Floats
from .rise import RiseFit, fit_rise
from .severity import CORROBORATION_ROWS, STATISTICAL, provisional_kind
from .trend import residuals_since

RECENT_ROWS = 16
_FOLLOWS_ROWS, _JOINS_SD, _LEADS_UP_ROWS = 32, 3.0, 2
_RAISED_SD = 1.0
_SLOW_RAISED_SD = 0.4
_STILL_RISING_SD = 0.3
_LASTS_ROWS, _FITS_BEFORE, _FITS_ROWS = 48, 40, 400
_FITS_SD, _FITS_MORE = 10.0, 8
_FITS_FROM_ROW = 300
_RATE_BACK = math.log(1.5)  # a learning rate within this factor of what it was before a jump has come back


def review(bank: SignalBank, incident: OpenIncident, row: int) -> None:
    """Bring onset, peaks, excess loss, segments and kind up to date from the history up to ``row``."""
    lead, baseline = incident.lead, incident.baselines.get(incident.lead)
    if incident.has("loss", Chart.PLATEAU) and not incident.is_nonfinite:
        # Nothing happened at any one step: the rule alone knows since when.
        incident.kind, incident.onset_step = Kind.PLATEAU, incident.facts["plateau"]["since_step"]
        return
    if baseline is not None:
        rows, y = residuals_since(bank, lead, baseline, baseline.first_row, row)
        if len(rows):
            _place(bank, incident, rows, y)
    if incident.kind is Kind.NONFINITE or "first_nonfinite" in incident.facts:
        first = incident.facts["first_nonfinite"]
        # A loss that was rising before it became NaN began then; else nothing came before.
        has_risen = bank.history.step_of(incident.alarm_rows[lead]) < first["step"]
        is_sudden = first["signal"] == lead and not has_risen
        incident.onset_step = first["step"] if is_sudden else min(incident.onset_step, first["step"])
    if incident.end_row is not None:
        # Where the window has moved past the onset, or a NaN was the first of it, it is not this segmentation's.
        newest = bank.history.rows - 1
        incident.end_row = min(max(incident.end_row, incident.onset_row + 1), newest)
    _count(bank, incident, row)
    if bank.history.rows - incident.onset_row <= KEPT_ROWS - CORROBORATION_ROWS:
        incident.facts["lead_steps"] = _lead_steps(bank, incident, row)


def _lead_steps(bank: SignalBank, incident: OpenIncident, row: int) -> dict[str, int]:
    """For each other signal that rose too, when it did so, in steps after the leading one; negative if it was first."""
    leads = {}
    for name, baseline in incident.baselines.items():
        if name == incident.lead:
            continue
        last = min(row, incident.onset_row + _FOLLOWS_ROWS)
        rows, y = residuals_since(bank, name, baseline, incident.onset_row - CORROBORATION_ROWS, last)
        high = np.flatnonzero(y > _JOINS_SD)
        if len(high):
            first = _first_of_rise(high, int(np.argmax(y)))
            leads[name] = bank.history.step_of(int(rows[first])) - incident.onset_step
    return leads


def _first_of_rise(high: np.ndarray, top: int) -> int:
    """The first of the entries in ``high`` that lead up to ``top``: a lone one some rows before is noise."""
    first = top
    for place in reversed(high[high <= top].tolist()):
        if first - place > _LEADS_UP_ROWS:
            break
        first = place
    return first


def is_raised(
    bank: SignalBank, incident: OpenIncident, learning_rate: float | None, recent_rows: int = RECENT_ROWS
) -> bool:
    """Whether the leading signal is still above the trend before the incident, judged by its newest rows.

    Args:
        learning_rate: of the newest sample; decides where the learning rate leads.
    """
    if incident.lead == "learning_rate":
        return _is_rate_off(incident, learning_rate)
    if incident.kind is Kind.NONFINITE and _is_still_nonfinite(bank, incident):
        return True
    baseline = incident.baselines.get(incident.lead)
    if baseline is None:
        return False
    is_noise = incident.kind is Kind.NOISE_CHANGE
    newest = bank.history.rows - 1
    # A spread takes more samples than a level, and so does a level within the noise.
    limit = _raised_limit(incident)
    takes_more = is_noise or _is_slow(incident) or limit < _RAISED_SD
    first = newest + 1 - (3 * recent_rows if takes_more else recent_rows)
    _, y = residuals_since(bank, incident.lead, baseline, first, newest)
    if not len(y):
        return incident.kind is Kind.NONFINITE
    if is_noise:
        return has_grown(y)
    if _is_slow(incident):
        return float(np.mean(np.clip(y, -3.0, 3.0))) > _SLOW_RAISED_SD
    return float(np.median(y)) > limit


def _raised_limit(incident: OpenIncident) -> float:
    """A level that counts as raised, in sd: less for a shift that is hardly larger than the noise."""
    height = max((part[2] for part in incident.parts), default=0.0)
    if incident.lead != "loss" or not incident.has("loss", Chart.LEVEL) or height > 3 * _RAISED_SD:
        return _RAISED_SD
    return max(height / 3, _SLOW_RAISED_SD)


def is_still_rising(bank: SignalBank, incident: OpenIncident) -> bool:
    """Whether a slow rise of the loss has gone on in the newest rows."""
    baseline = incident.baselines.get("loss")
    if baseline is None or incident.kind not in (Kind.DRIFT, Kind.LEVEL_SHIFT):
        return False
    newest = bank.history.rows - 1
    _, y = residuals_since(bank, "loss", baseline, newest + 1 - 6 * RECENT_ROWS, newest)
    half = len(y) // 2
    return half > 0 and float(np.median(y[half:]) - np.median(y[:half])) > _STILL_RISING_SD


def _is_slow(incident: OpenIncident) -> bool:
    """Whether only the chart of blocks has seen the change."""
    return incident.has("loss", Chart.DRIFT) and not incident.has("loss", Chart.LEVEL, Chart.EARLY)


def _is_still_nonfinite(bank: SignalBank, incident: OpenIncident) -> bool:
    """Whether the signal that became NaN or infinite has had no number since."""
    column = bank.column(incident.facts["first_nonfinite"]["signal"])
    return column is not None and not len(bank.history.column(column, incident.facts["last_nonfinite_row"])[0])


def was_raised(bank: SignalBank, incident: OpenIncident, row: int) -> bool:
    """Whether the leading signal was above the trend before the incident in the samples shortly before ``row``."""
    baseline = incident.baselines.get(incident.lead)
    if baseline is None:
        return False
    _, y = residuals_since(bank, incident.lead, baseline, row - RECENT_ROWS, row - 1)
    return len(y) > 0 and float(np.median(y)) > _RAISED_SD


def is_over(bank: SignalBank, incident: OpenIncident) -> bool:
    """Whether enough samples have passed since the last alarm to say how it ended."""
    return bank.history.rows - 1 - incident.last_alarm_row >= RECENT_ROWS


def _is_rate_off(incident: OpenIncident, rate: float | None) -> bool:
    """Whether the learning rate is still what it became."""
    change = incident.facts.get("learning_rate")
    if rate is None or change is None or not math.isfinite(rate):
        return rate is not None and not math.isfinite(rate)
    if change["what"] in ("zero", "negative"):
        return rate <= 0
    return abs(math.log(max(rate, 1e-300) / max(change["before"], 1e-300))) > _RATE_BACK


def _place(bank: SignalBank, incident: OpenIncident, rows: np.ndarray, y: np.ndarray) -> None:
    lead = incident.lead
    alarm = min(int(np.searchsorted(rows, incident.alarm_rows[lead])), len(rows) - 1)
    parts = segments(y)
    raised = raised_segments(y, parts, alarm)
    onset, last = span(y, raised, alarm, is_shift=incident.has(lead, Chart.LEVEL, Chart.DRIFT))
    if lead == "loss" and not incident.is_nonfinite and incident.has("loss", *STATISTICAL, Chart.SCALE):
        fit = _fitted(y, onset, last, is_slow=_is_slow(incident))
        incident.kind = classify_loss(
            y,
            raised,
            onset,
            _log_ratio(bank, incident.baselines["loss"]),
            has_level_alarm=incident.has("loss", Chart.LEVEL, Chart.EARLY, Chart.DRIFT),
            has_scale_alarm=incident.has("loss", Chart.SCALE),
            is_slow=_is_slow(incident),
            is_gradual=fit is not None and fit.is_gradual,
        )
        is_rise = incident.kind is Kind.DIVERGENCE or (incident.kind is Kind.DRIFT and fit is not None)
        # In the descent of the first steps there is no trend to which a fit could lead back.
        is_young = incident.has("loss", Chart.EARLY) or int(rows[onset]) < _FITS_FROM_ROW
        if fit is not None and fit.is_gradual and is_rise and not is_young:
            onset = min(fit.first, alarm)
    else:
        incident.kind = provisional_kind(incident)
    is_more = incident.has("loss", Chart.JOINT) or incident.facts.get("steps_per_sample", 1) >= COARSE_STEPS
    if incident.kind is Kind.BAD_BATCH and incident.severity.is_alert and (is_more or not is_over(bank, incident)):
        # One sample that the gradient norm confirms, or that stands for many steps, is more than one bad batch; of
        # others it only shows afterwards.
        incident.kind = Kind.SPIKE
    if incident.kind is Kind.NOISE_CHANGE:
        raised = []
        onset, last = noise_span(y, alarm)
    step_of = bank.history.step_of
    # Once the window has moved past the onset it can only be remembered.
    if rows[0] <= incident.onset_row:
        incident.onset_row = int(rows[onset])
        incident.onset_step = step_of(incident.onset_row)
    incident.parts = [
        [step_of(int(rows[part.first])), step_of(int(rows[part.last])), round(part.level, 2)] for part in raised
    ]
    # A second peak too short for a segment has had its alarm, and the incident was not over before it.
    last = max(last, int(np.searchsorted(rows, incident.last_rise_row.get(lead, 0))))
    incident.end_row = int(rows[last + 1]) if last + 1 < len(rows) and not _is_slow(incident) else None


def _fitted(y: Floats, onset: int, last: int, *, is_slow: bool) -> RiseFit | None:
    """How the loss rose, from well before the onset on; None while it has not lasted."""
    if last - onset < _LASTS_ROWS and not is_slow:
        return None
    stop = len(y) if is_slow else min(last + 1, onset + _FITS_ROWS)
    # How a divergence goes on says nothing of its beginning, and would outweigh it.
    high = np.flatnonzero(y[onset:stop] > _FITS_SD)
    if len(high) > 2:
        stop = min(stop, onset + int(high[2]) + _FITS_MORE)
    start = max(0, onset - max(_FITS_BEFORE, (stop - onset) // 2))
    fit = fit_rise(np.clip(y[start:stop], -4.0, _FITS_SD))
    return None if fit is None else fit._replace(first=start + fit.first, full=start + fit.full)


def end_where_it_came_back(bank: SignalBank, incident: OpenIncident) -> None:
    """Give an incident that is back at trend its end, where the segmentation sees none: after the last raised row."""
    lead, baseline = incident.lead, incident.baselines.get(incident.lead)
    if incident.end_row is not None or baseline is None:
        return
    rows, y = residuals_since(bank, lead, baseline, incident.onset_row, incident.counted_row)
    if not len(y):
        return
    if _is_slow(incident):
        incident.end_row = int(rows[max(len(rows) - 3 * RECENT_ROWS, 0)])
    else:
        high = np.flatnonzero(y > RAISED_SD)
        incident.end_row = int(rows[min(high[-1] + 1 if len(high) else 1, len(rows) - 1)])
        _count(bank, incident, incident.counted_row)  # what came after the end is no part of it


def _log_ratio(bank: SignalBank, baseline: FrozenBaseline) -> float:
    """Log of the recent loss over what the trend before the incident expects."""
    rows, values = bank.history.column(bank.column("loss") or 0, bank.history.rows - RECENT_ROWS)
    expected = bank.from_scale("loss", baseline.expected(float(rows[-1]))) if len(rows) else 0.0
    level = float(np.median(values)) if len(values) else 0.0
    # Not of the ratio, which may be too small for a float.
    return math.log(level) - math.log(expected) if level > 0 and expected > 0 else 0.0


def _count(bank: SignalBank, incident: OpenIncident, row: int) -> None:
    """Peaks and excess loss from the onset on; from the last count on once the onset has left the window."""
    history = bank.history
    has_onset = history.rows - incident.onset_row <= KEPT_ROWS
    start = incident.onset_row if has_onset else incident.counted_row + 1
    if has_onset:
        incident.excess_loss = 0.0
        incident.peaks.clear()
    for name, baseline in incident.baselines.items():
        # A gradient norm may lead the loss by some steps.
        reach = start - CORROBORATION_ROWS if has_onset and name != incident.lead else start
        rows, values = history.column(bank.column(name) or 0, reach)
        within = rows <= row
        if has_onset and incident.end_row is not None and (rows < incident.end_row).any():
            within = rows < incident.end_row
        rows, values = rows[within], values[within]
        if not len(rows):
            continue
        top = int(np.argmax(values))
        if name not in incident.peaks or values[top] > incident.peaks[name][0]:
            incident.peaks[name] = (float(values[top]), history.step_of(int(rows[top])))
        if name == "loss":
            counted = rows >= start
            expected = [bank.from_scale(name, baseline.expected(float(r))) for r in rows[counted]]
            incident.excess_loss += float(np.sum(values[counted] - expected))
    incident.counted_row = row
