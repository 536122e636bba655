"""What was done, or would have been, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .decide import DRY_RUN, PAUSED
from .orders import ActionRecord


def action_title(record: ActionRecord) -> str:
    """One line, without the reason.

    >>> action_title(ActionRecord(400, 0.0, "rewind", "done", "", "loss-512", {"to_step": 400, "from_step": 520}))
    'went back from step 520 to the checkpoint of step 400'
    """
    done, undone = _WORDS.get(record.do, (record.do, record.do))
    facts = _Facts(record.details)
    if record.is_done:
        return done.format_map(facts)
    wish = undone.format_map(facts)
    if record.outcome == DRY_RUN:
        return f"dry run: would {wish}"
    if record.outcome == PAUSED:
        return f"actions are paused: would {wish}"
    return f"did not {wish} ({record.outcome})"


_WORDS = {
    "checkpoint": ("kept {saved}", "save a checkpoint"),
    "stop": ("stopped the training", "stop the training"),
    "lower_lr": ("lowered the learning rate to {factor} of its schedule", "lower the learning rate to {factor} of it"),
    "rewind": (
        "went back from step {from_step} to the checkpoint of step {to_step}",
        "go back to the checkpoint of step {to_step}",
    ),
    "skip_step": ("left out the update of step {step}", "leave out the update of step {step}"),
}


class _Facts(dict[str, Any]):
    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__(details)

    def __missing__(self, name: str) -> str:
        return "?"
