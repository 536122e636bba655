"""An explanation in words with numbers: which chart said what when, and what followed from it."""

from __future__ import annotations

import math
import re

from ..detection.alarm import Chart
from ..detection.messages import number
from ..printable import clean
from ..telemetry import Change, Incident, Kind, Status
from .panels import CHART_NAMES, name_of
from .story import Explanation, Firing

_MOST_SEGMENTS = 4
_MOST_AGAIN = 3
# How the message of a probe begins that was ended by an error of Python's and not by one that says what to do.
_RAISED = re.compile(r"[A-Z]\w*: ")
_UNITS = {Chart.OUTLIER: " sd", Chart.EARLY: " times the best level"}
_EARLY = (
    "until the charts begin the loss is held against its best level so far: 1.3 times that and half a nat more, twice "
    "if it is clear of the run's own noise and four times if less so, or 2.2 times at once"
)
_ABOUT = {
    Chart.LEVEL: "a lasting rise, summed up over samples (CUSUM)",
    Chart.SCALE: "wider noise, summed up over samples (CUSUM)",
    Chart.OUTLIER: "one sample far above the trend",
    Chart.JOINT: "loss and gradient norm high at once, each within what noise does alone",
    Chart.DRIFT: "a slow or small rise, seen in means of sixteen samples",
}


def facts(explanation: Explanation) -> list[tuple[str, str]]:
    """Name and text of everything worth saying, in the order in which it happened; for people."""
    incident = explanation.incident
    if incident.kind is Kind.PROBE_FAILURE:
        found = _probe(explanation)
    else:
        found = [*_alarms(explanation), ("onset", f"step {incident.onset_step:,}")]
    found.append(("told", _told(explanation)))
    found.append(("end", _end(incident)))
    if segments := incident.evidence.get("segments"):
        found.append(("segments", _segments(segments)))
    found += [(name_of(name), _lead(steps, incident)) for name, steps in _leads(incident)]
    found += [("learning rate", text) for text in _learning_rate(incident)]
    found += [("explained by" if _is_explained(incident) else "beside it", text) for text in _changes(incident)]
    found += [("also here", _neighbours(explanation))] if explanation.neighbours else []
    if incident.advice:
        found.append(("what to do", clean(incident.advice) + _traceback(incident)))
    return found


def firing_in_words(firing: Firing, explanation: Explanation) -> str:
    """One chart over its threshold.

    >>> level = Firing(1236, "loss", Chart.LEVEL, 14.123, 8.1, 2.6, True)
    >>> firing_in_words(level, None)
    'level chart of loss at step 1,236: 14.1, threshold 8.1'
    """
    signal = "loss and gradient norm" if firing.chart is Chart.JOINT else name_of(firing.signal)
    place = f"{CHART_NAMES[firing.chart]} of {signal} at step {firing.step:,}"
    if firing.rule:
        return f"{name_of(firing.signal)} at step {firing.step:,}: {firing.rule}"
    if firing.chart is Chart.NONFINITE and not math.isinf(firing.value):
        return f"{name_of(firing.signal)} was NaN at step {firing.step:,}"
    if firing.chart is Chart.NONFINITE:
        return f"{name_of(firing.signal)} was infinite at step {firing.step:,}"
    if firing.chart is Chart.SCHEDULE:
        return f"learning-rate rule at step {firing.step:,}{_rate_rule(firing, explanation.incident)}"
    if firing.chart is Chart.PLATEAU:
        return f"plateau rule at step {firing.step:,}{_slopes(explanation.incident)}"
    unit = _UNITS.get(firing.chart, "")
    limit = f", threshold {_short(firing.threshold)}" if firing.threshold is not None else ""
    return f"{place}: {_short(firing.score)}{unit}{limit}"


def _rate_rule(firing: Firing, incident: Incident) -> str:
    what = incident.evidence.get("learning_rate", {}).get("what")
    if what == "zero":
        return f": zero for {_short(firing.score)} samples"
    if what == "negative" or firing.threshold is None:
        return f": {number(firing.value)}"
    return f": a factor of {_short(firing.score)} between two rates, threshold {_short(firing.threshold)}"


def _slopes(incident: Incident) -> str:
    plateau = incident.evidence.get("plateau")
    if plateau is None:
        return ""
    before, now = plateau["slope_before"], plateau["slope"]
    return f": slope of log(loss) over log(step) {now:+.2g} in the newest half of the run, {before:+.2g} before"


def _short(value: float) -> str:
    """Three digits.

    >>> _short(8.1), _short(41.27), _short(1523.4)
    ('8.1', '41.3', '1,523')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _alarms(explanation: Explanation) -> list[tuple[str, str]]:
    """The first alarm of each chart of each signal; the rest would be repetition."""
    first: dict[tuple[str, Chart, str], Firing] = {}
    for firing in explanation.counted:
        # The joint rule speaks of both signals at once.
        signal = "" if firing.chart is Chart.JOINT else firing.signal
        first.setdefault((signal, firing.chart, firing.rule), firing)
    entries = []
    for place, firing in enumerate(first.values()):
        text = firing_in_words(firing, explanation)
        if place == 0 and not firing.rule and (about := _ABOUT.get(firing.chart)):
            text += f" ({about})"
        entries.append(("first alarm" if place == 0 else "then", text))
    if any(chart is Chart.EARLY for _, chart, _ in first):
        entries.append(("early rule", _EARLY))
    return entries


def _probe(explanation: Explanation) -> list[tuple[str, str]]:
    """Which probe failed, with what message and how often: no chart has anything to do with it."""
    evidence, first = explanation.incident.evidence, explanation.incident.onset_step
    times = f"once, at step {first:,}"
    if evidence["failures"] > 1:
        times = f"{evidence['failures']:,} times, from step {first:,} to {first + evidence['duration_steps']:,}"
    entries = [("probe", clean(evidence["probe"])), ("message", clean(evidence["problem"])), ("failed", times)]
    if again := explanation.again:
        steps = ", ".join(f"step {other.onset_step:,} ({clean(other.id)})" for other in again[:_MOST_AGAIN])
        more = len(again) - _MOST_AGAIN
        entries.append(("failed also", steps + (f" and {more:,} more" if more > 0 else "")))
    return entries


def _traceback(incident: Incident) -> str:
    if incident.kind is not Kind.PROBE_FAILURE or not _RAISED.match(incident.evidence["problem"]):
        return ""
    return " Its traceback is in what pretrain_monitor logs at level DEBUG."


def _told(explanation: Explanation) -> str:
    incident = explanation.incident
    late = incident.detected_step - incident.onset_step
    text = f"step {incident.detected_step:,}"
    if late > 0:
        text += f", {late:,} step{'' if late == 1 else 's'} after the onset"
    if not incident.is_alert:
        return f"{text}, for information"
    before = next((event for event in explanation.told if event.change is Change.OPENED), None)
    if before is not None and not before.incident.is_alert and before.step < incident.detected_step:
        text += f"; until then it was for information, from step {before.step:,} on"
    return text


def _end(incident: Incident) -> str:
    if incident.kind is Kind.PROBE_FAILURE:
        return _end_of_probe(incident)
    if incident.end_step is not None:
        return f"step {incident.end_step:,}, the first one back at the trend before"
    if incident.status is Status.PERSISTENT:
        steps = incident.evidence["duration_steps"]
        return f"none: it had not come back {steps:,} steps after the onset and is called lasting"
    if incident.status is Status.ENDED_RUN:
        return "none by the end of the log"
    return "back, without one step to name"


def _end_of_probe(incident: Incident) -> str:
    if incident.status is Status.PERSISTENT:
        last = incident.onset_step + incident.evidence["duration_steps"]
        return f"none: the probe was switched off at step {last:,}, the training went on"
    return "none by the end of the log: it was tried again in every round"


def _segments(segments: list[list[float]]) -> str:
    texts = [f"{first:,.0f} to {last:,.0f} at {sd:+,.1f} sd" for first, last, sd in segments[:_MOST_SEGMENTS]]
    more = len(segments) - _MOST_SEGMENTS
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def _leads(incident: Incident) -> list[tuple[str, int]]:
    leads = incident.evidence.get("lead_steps") or {}
    return [(str(name), int(steps)) for name, steps in leads.items()]


def _lead(steps: int, incident: Incident) -> str:
    lead = name_of(incident.signals[0])
    if steps == 0:
        return f"rose at the onset, together with the {lead}"
    return f"rose {abs(steps):,} step{'' if abs(steps) == 1 else 's'} {'before' if steps < 0 else 'after'} the {lead}"


def _learning_rate(incident: Incident) -> list[str]:
    rate = incident.evidence.get("learning_rate")
    if rate is None:
        return []
    before = f"{number(float(rate['before']))} before, " if rate.get("before") is not None else ""
    return [f"{rate['what']} at step {rate['step']:,}: {before}{number(float(rate['after']))} after"]


def _is_explained(incident: Incident) -> bool:
    return not incident.is_alert


def _changes(incident: Incident) -> list[str]:
    return [
        clean(f"step {change['step']:,}: {change['text']}") + ("" if change["is_declared"] else ", not announced")
        for change in incident.evidence.get("changes", ())
    ]


def _neighbours(explanation: Explanation) -> str:
    shown = [f"{clean(other.id)} ({other.kind.replace('_', ' ')})" for other in explanation.neighbours[:3]]
    more = len(explanation.neighbours) - 3
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
