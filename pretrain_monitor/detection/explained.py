"""Changes of the run that account for a rise of the loss: what was declared or logged explains, and is no alert."""

from __future__ import annotations

from .alarm import Chart
from .context import RunContext
from .open_incident import OpenIncident

_EXPLAINS_ROWS = 8  # a change explains what begins so soon after it


def may_be_explained(incident: OpenIncident) -> bool:
    """Whether it is a rise of the loss that neither the early rule nor the learning rate has told."""
    is_own_fault = incident.has("loss", Chart.EARLY) or incident.has("learning_rate", Chart.SCHEDULE)
    return incident.lead == "loss" and not is_own_fault


def explain(incident: OpenIncident, context: RunContext, steps_per_row: int) -> bool:
    """Note the changes just before the onset in the incident; whether there are any.

    A learning rate that changed unannounced explains nothing: it is what may have gone wrong.
    """
    slack = _EXPLAINS_ROWS * max(steps_per_row, 1)
    changes = [
        change
        for change in context.near(incident.onset_step, incident.onset_step, slack)
        if change.is_declared or change.what != "learning_rate"
    ]
    if changes:
        incident.facts["changes"] = [
            {"step": c.step, "what": c.what, "text": c.text, "is_declared": c.is_declared} for c in changes
        ]
    return bool(changes)
