"""Which incident is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..printable import shorten
from ..telemetry import Incident
from .errors import ExplainError

_SHOWN_IDS = 6
_STEP = re.compile(r"\d[\d,_]*")


class Found(NamedTuple):
    """The incident, and a remark if it is not quite what was asked for."""

    incident: Incident
    remark: str = ""


def find(incidents: Sequence[Incident], asked: str) -> Found:
    """The incident with the id ``asked``, or the one at that step, or else the nearest to it.

    >>> from pretrain_monitor import Sample, replay
    >>> incidents = replay([Sample(7, {"loss": float("nan")})])
    >>> find(incidents, "9").remark
    'no incident at step 9: this is the nearest, from 7 to 7'

    Raises:
        ExplainError: no incidents at all, or an id that none has.
    """
    if not incidents:
        raise ExplainError(f"no incident {shorten(asked)}: there are no incidents")
    for incident in incidents:
        if incident.id == asked:
            return Found(incident)
    if _STEP.fullmatch(asked) is None or len(asked) > 24:
        raise ExplainError(f"no incident {shorten(asked)}; there {_listed(incidents, asked)}, or give a step")
    step = int(asked.replace(",", "").replace("_", ""))
    # Of two at one step the alert, or else the one that began last.
    nearest = min(incidents, key=lambda one: (_distance(one, step), not one.is_alert, -one.onset_step))
    if _distance(nearest, step) == 0:
        return Found(nearest)
    extent = f"from {nearest.onset_step:,} to {_last_step(nearest):,}"
    return Found(nearest, f"no incident at step {step:,}: this is the nearest, {extent}")


def _last_step(incident: Incident) -> int:
    """The step at which it was over, or given up as lasting, or at which the run ended."""
    return max(incident.onset_step + int(incident.evidence["duration_steps"]), incident.detected_step)


def _distance(incident: Incident, step: int) -> int:
    return max(incident.onset_step - step, step - _last_step(incident), 0)


def _listed(incidents: Sequence[Incident], asked: str) -> str:
    """The ids there are; of many those that are most like what was asked for, and how many more."""
    steps = re.findall(r"\d+", asked[-24:])
    near = int(steps[-1]) if steps else None
    ids = [incident.id for incident in incidents]
    if len(ids) > _SHOWN_IDS and near is not None:
        close = sorted(incidents, key=lambda incident: abs(incident.detected_step - near))[:_SHOWN_IDS]
        ids = [incident.id for incident in incidents if incident in close]
    shown = [shorten(identity, 40) for identity in ids[:_SHOWN_IDS]]
    more = len(incidents) - len(shown)
    verb = "is" if len(incidents) == 1 else "are"
    return f"{verb} {', '.join(shown)}{f' and {more:,} more' if more else ''}"
