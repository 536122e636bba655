"""What an incident rests on, ready to be drawn: its signals around the onset, segments, who led and who followed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..actions.orders import ActionRecord
from ..actions.words import action_title
from ..printable import shorten
from ..telemetry import Incident, Kind
from .content import RunContent
from .series import Series

_SHOWN_BESIDE = ("loss", "grad_norm", "learning_rate")
_MOST_TRACKS = 6
_COLUMNS = 320
_BEFORE_STEPS, _AFTER_STEPS = 80, 60  # at least: what normal looks like, and whether it came back
_MOST_SEGMENTS = 12
_LARGEST_STEP = 2**61
_MOST_ACTIONS, _LONGEST_ACTION = 20, 300


def evidence_of(incident: Incident, content: RunContent, newest_step: int | None = None) -> dict[str, Any]:
    """The window of steps, the signals in it, and facts for people, JSON-ready.

    Args:
        newest_step: of the run, where the content is still being read; None: of the content.
    """
    first, last = window_of(incident, content.last_step if newest_step is None else newest_step)
    return {
        "first": first,
        "last": last,
        "tracks": [
            _track(name, content.series[name], incident, first, last)
            for name in _names(incident)
            if name in content.series
        ],
        "charts": _charts(incident.evidence.get("charts")),
        "changes": _changes(incident.evidence.get("changes")),
        "actions": [
            {"step": action.step, "text": shorten(action_title(action), _LONGEST_ACTION)}
            for action in content.actions
            if _is_about(action, incident)
        ][-_MOST_ACTIONS:],
    }


def _is_about(action: ActionRecord, incident: Incident) -> bool:
    if action.do != "skip_step":
        return action.incident == incident.id
    # Decided before the loss is known, so from no incident.
    step = action.details.get("step")
    last = incident.end_step or max(incident.detected_step, incident.peak_step)
    return isinstance(step, int) and incident.onset_step <= step <= last


def window_of(incident: Incident, newest_step: int | None) -> tuple[int, int]:
    """Steps from clearly before the onset to clearly after the end, within the run."""
    onset = min(incident.onset_step, incident.detected_step)
    until = max(incident.end_step or 0, incident.peak_step, incident.detected_step, onset + _duration(incident))
    length = until - onset
    first = onset - max(_BEFORE_STEPS, length // 2)
    last = until + max(_AFTER_STEPS, length // 3)
    if incident.kind is Kind.RETENTION_LOSS:
        # Rounds of probes are far apart: some of them before the loss, and those since.
        first = onset - max(10 * max(length, 1), 200)
    if newest_step is not None:
        last = min(last, newest_step)
    first, last = max(first, min(onset, 1), -_LARGEST_STEP), min(last, _LARGEST_STEP)
    return first, max(last, first + 1)


def _duration(incident: Incident) -> int:
    value = incident.evidence.get("duration_steps")
    return value if isinstance(value, int) and value >= 0 else 0


def _names(incident: Incident) -> list[str]:
    if incident.kind is Kind.PROBE_FAILURE:
        return list(_SHOWN_BESIDE)
    return list(dict.fromkeys((*incident.signals, *_SHOWN_BESIDE)))[:_MOST_TRACKS]


def _track(name: str, series: Series, incident: Incident, first: int, last: int) -> dict[str, Any]:
    drawn = series.draw(first, last, _COLUMNS)
    lead = incident.evidence.get("lead_steps")
    steps = lead.get(name) if isinstance(lead, Mapping) else None
    is_lead = bool(incident.signals) and name == incident.signals[0]
    return {
        "name": name,
        "is_part": name in incident.signals,
        "is_lead": is_lead,
        "lead_steps": steps if isinstance(steps, int) else None,
        "steps": drawn.steps.tolist(),
        "y": [value if math.isfinite(value) else None for value in drawn.values.tolist()],
        "nonfinite": drawn.nonfinite.tolist(),
        "segments": _segments(incident, series) if is_lead else [],
    }


def _segments(incident: Incident, series: Series) -> list[dict[str, Any]]:
    """Stretches above the trend before, each at the median of its values."""
    found = []
    segments = incident.evidence.get("segments")
    for entry in segments[:_MOST_SEGMENTS] if isinstance(segments, list) else []:
        try:
            first, last, sd = int(entry[0]), int(entry[1]), float(entry[2])
        except (TypeError, ValueError, IndexError, OverflowError):
            continue
        values = series.values[series.rows(first, last)]
        values = values[np.isfinite(values)]
        if len(values):
            found.append({"first": first, "last": last, "sd": sd, "level": float(np.median(values))})
    return found


def _charts(charts: Any) -> list[dict[str, Any]]:
    """Which chart of which signal fired, with its highest score."""
    found = []
    for signal, scores in charts.items() if isinstance(charts, Mapping) else ():
        for chart, score in scores.items() if isinstance(scores, Mapping) else ():
            value = score if isinstance(score, int | float) and math.isfinite(score) else None
            found.append({"signal": str(signal), "chart": str(chart), "score": value})
    return found


def _changes(changes: Any) -> list[dict[str, Any]]:
    """What was changed in the run beside it, declared or seen."""
    found = []
    for change in changes if isinstance(changes, list) else ():
        if isinstance(change, Mapping) and isinstance(change.get("step"), int):
            found.append({"step": change["step"], "text": str(change.get("text", ""))})
    return found
