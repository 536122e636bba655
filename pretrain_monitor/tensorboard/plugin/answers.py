"""What the page asks for, as JSON-ready data; nothing here knows of HTTP."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...actions.orders import ActionRecord
from ...actions.words import action_title
from ...printable import shorten
from ...telemetry import Event, Incident
from ...viewing.coincidence import RunIncidents, coincidences
from ...viewing.content import RunContent
from ...viewing.evidence import evidence_of
from ...viewing.expected import BANDED, draw_band, interval
from ...viewing.health import counts
from ...viewing.series import Drawn
from .library import Library
from .watched import WatchedRun

_MOST_COLUMNS = 4000
_MOST_SIGNALS = 40  # of one answer
_MOST_INCIDENTS = 5000
_MOST_RUNS = 12  # that are compared


class BadRequestError(ValueError):
    """The page, or whoever plays it, asked for something that there is not; one line."""


def all_runs(library: Library) -> dict[str, Any]:
    """Every run with its state: what the page opens with."""
    now = time.time()
    return {"now": now, "runs": [_header(run, now) for run in library.runs]}


def one_run(library: Library, name: str, known: str = "") -> dict[str, Any]:
    """A run with its incidents, signals and what else its log says.

    Args:
        known: the mark of the answer that the page has; if nothing has changed since, only the header comes.
    """
    run = _run(library, name)
    with run.lock:
        content = run.content
        head = {**_header(run, time.time()), "mark": run.mark, "share_read": run.share_read}
        if known == run.mark:
            return {**head, "is_unchanged": True}
        incidents = list(run.incidents)
        return {
            **head,
            "first_step": content.first_step,
            "signals": sorted(content.series),
            "has_tokens": len(content.tokens) > 0,
            "has_times": len(content.times) > 0,
            "incidents": [_listed(one) for one in _most_important(incidents)],
            "incident_count": len(incidents),
            "announcements": [said.to_json() for said in content.announcements[-500:]],
            "actions": [_acted(action) for action in content.actions[-500:]],
            "sessions": [[session.after_step, session.time] for session in content.sessions[-200:]],
            "rounds": content.domains.steps(),
        }


def _acted(action: ActionRecord) -> dict[str, Any]:
    return {"step": action.step, "do": action.do, "is_done": action.is_done, "text": shorten(action_title(action), 300)}


def series(library: Library, name: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Signals between two steps, as many points as the chart has room for."""
    run = _run(library, name)
    names = [part for part in query.get("signals", "").split("\n") if part][:_MOST_SIGNALS]
    axis = query.get("axis", "step")
    columns = min(max(_whole(query, "columns", 800), 10), _MOST_COLUMNS)
    with run.lock:
        content = run.content
        first = _whole(query, "first", content.first_step or 0)
        last = _whole(query, "last", content.last_step or 0)
        if last < first:
            raise BadRequestError(f"last={last} lies before first={first}")
        run.looked_at = (first, last)
        known = _known(query)
        found, grains = {}, {}
        for one in names:
            if (signal := content.series.get(one)) is not None:
                # Where all of this is as it was the older columns are too.
                grains[one] = f"{signal.bucket(first, last, columns)}.{signal.samples_per_pair}.{content.epoch}.{axis}"
                grain, since = known.get(one, ("", None))
                found[one] = signal.draw(first, last, columns, since if grain == grains[one] else None)
        pairs = {one: content.series[one].samples_per_pair for one in found}
        bands = {one: draw_band(run.band(one, first, last), columns // 3) for one in BANDED if one in found}
        bands |= {one: interval(one, content.series, first, last) for one in found if one not in BANDED}
        return {
            "mark": run.mark,
            "first": first,
            "last": last,
            "signals": {
                one: {**_drawn(drawn, content, axis), "samples_per_pair": pairs[one], "grain": grains[one]}
                for one, drawn in found.items()
            },
            "bands": {
                one: {
                    "x": _places(band.steps, content, axis),
                    "expected": _values(band.expected),
                    "lower": _values(band.lower),
                    "upper": _values(band.upper),
                }
                for one, band in bands.items()
                if len(band.steps)
            },
        }


def one_incident(library: Library, name: str, identity: str) -> dict[str, Any]:
    """The card of an incident: what was told, when, and the signals around it."""
    run = _run(library, name)
    with run.lock:
        incident = next((one for one in run.incidents if one.id == identity), None)
        if incident is None:
            raise BadRequestError(f"no incident {identity!r} in this run")
        history = run.content.history(identity)
        return {
            "incident": _told(incident),
            "history": [_change(event) for event in history],
            "mark": run.mark,
            "is_provisional": run.share_read < 1,
            **evidence_of(incident, run.content, run.step),
        }


def domains(library: Library, name: str, known: str = "") -> dict[str, Any]:
    """What probes found: held-out results by domain, and tokenization; ``known`` as of a run."""
    run = _run(library, name)
    with run.lock:
        content = run.content
        own = content.domains.version or content.version  # those of other people's runs are signals like any other
        version = f"{content.epoch}.{own}.{len(run.incidents)}"
        if known == version:
            return {"version": version, "is_unchanged": True}
        return {"version": version, **content.domains.table(run.incidents, content.series)}


def compare(library: Library, names: Sequence[str]) -> dict[str, Any]:
    """Several runs: their headers, incidents and which of these share a step."""
    chosen = [_run(library, name) for name in names[:_MOST_RUNS]]
    now = time.time()
    found = []
    by_run = {}
    for run in chosen:
        with run.lock:
            content = run.content
            incidents = list(run.incidents)
            steps = (run.step or 0) - (content.first_step or 0)
            by_run[run.name] = RunIncidents(incidents, steps)
            found.append(
                {
                    **_header(run, now),
                    "first_step": content.first_step,
                    "mark": run.mark,
                    "share_read": run.share_read,
                    "signals": sorted(content.series),
                    "incidents": [_listed(one) for one in _most_important(incidents)],
                }
            )
    return {"now": now, "runs": found, "coincidences": [one._asdict() for one in coincidences(by_run)]}


def _header(run: WatchedRun, now: float) -> dict[str, Any]:
    with run.lock:
        health = run.health(now)
        return {
            "name": run.name,
            "label": run.path.parent.name if run.name == "." else run.name,
            "kind": run.kind.value,
            "state": health.state.value,
            "text": health.text,
            "tone": health.tone,
            "step": run.step,
            "tokens_seen": run.tokens_seen,
            "time": run.last_time,
            "counts": counts(run.incidents),
            "is_summed_up": run.is_summed_up,
        }


def _run(library: Library, name: str) -> WatchedRun:
    # A name is looked up, never made into a path.
    run = library.run(name)
    if run is None:
        raise BadRequestError(f"no run {name!r} in this log directory")
    return run


def _most_important(incidents: Sequence[Incident]) -> list[Incident]:
    """All, or of very many the alerts and then the newest; in their order."""
    if len(incidents) <= _MOST_INCIDENTS:
        return list(incidents)
    ranked = sorted(incidents, key=lambda one: (one.is_alert, one.onset_step))[-_MOST_INCIDENTS:]
    return sorted(ranked, key=lambda one: one.onset_step)


def _listed(incident: Incident) -> dict[str, Any]:
    """What lists and markers need."""
    record = incident.to_json()
    record["duration_steps"] = incident.evidence.get("duration_steps")
    for name in ("evidence", "advice"):
        del record[name]
    return record


def _told(incident: Incident) -> dict[str, Any]:
    return {**incident.to_json(), "duration_steps": incident.evidence.get("duration_steps")}


def _change(event: Event) -> dict[str, Any]:
    incident = event.incident
    return {
        "step": event.step,
        "change": event.change.value,
        "kind": incident.kind.value,
        "severity": incident.severity.value,
        "status": incident.status.value,
        "message": incident.message,
    }


def _drawn(drawn: Drawn, content: RunContent, axis: str) -> dict[str, Any]:
    return {
        "steps": drawn.steps.tolist(),
        **({} if axis == "step" else {"x": _places(drawn.steps, content, axis)}),
        "y": _values(drawn.values),
        "nonfinite": drawn.nonfinite.tolist(),
        "start": drawn.start,
    }


def _places(steps: Any, content: RunContent, axis: str) -> list[float | None]:
    if axis == "tokens":
        return _values(content.tokens_at(steps))
    if axis == "time":
        return _values(content.times_at(steps))
    if axis == "step":
        return [int(step) for step in steps]
    raise BadRequestError(f"unknown axis {axis!r}; choose one of step, tokens, time")


def _values(values: Any) -> list[float | None]:
    # Eight digits: more than a page shows, and half of what would be sent.
    return [float(f"{value:.8g}") if math.isfinite(value) else None for value in values.tolist()]


def _known(query: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """What the page has drawn of signals already: by name the grain of it and its newest step."""
    try:
        given = json.loads(query.get("known") or "{}")
        return {str(name): (str(grain), int(step)) for name, (grain, step) in given.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise BadRequestError("known takes a JSON object: a grain and a step by name of a signal") from None


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    try:
        value = int(float(text)) if not text.lstrip("-").isdigit() else int(text)
    except (ValueError, OverflowError):
        raise BadRequestError(f"{name}={text[:40]!r} is no whole number") from None
    return min(max(value, -(2**62)), 2**62)


ROUTES: dict[str, Callable[[Library, Mapping[str, str]], dict[str, Any]]] = {
    "/runs": lambda library, query: all_runs(library),
    "/run": lambda library, query: one_run(library, query.get("run", ""), query.get("known", "")),
    "/series": lambda library, query: series(library, query.get("run", ""), query),
    "/incident": lambda library, query: one_incident(library, query.get("run", ""), query.get("id", "")),
    "/domains": lambda library, query: domains(library, query.get("run", ""), query.get("known", "")),
    "/compare": lambda library, query: compare(library, [name for name in query.get("runs", "").split("\n") if name]),
}
