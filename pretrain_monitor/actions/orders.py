"""What is to be done, in a form that travels between ranks and into the run log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..telemetry import spell_nonfinite

DONE = "done"


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to be done by every rank.

    Args:
        do: name of the action.
        step: of the sample that was the reason.
        reason: for people.
        incident: id of the incident it is about; empty if a human ordered it.
        details: JSON-ready, what the adapter has to know.
    """

    do: str
    step: int
    reason: str
    incident: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> Order:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """What became of an order.

    Args:
        step: optimizer steps completed when that was known; after a rewind the step gone back to.
        outcome: ``done``, or why not.
        details: those of the order, and what the adapter found out.
    """

    step: int
    time: float
    do: str
    outcome: str
    reason: str
    incident: str
    details: Mapping[str, Any]

    @property
    def is_done(self) -> bool:
        return self.outcome == DONE

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict with exactly the field names above."""
        record: dict[str, Any] = spell_nonfinite(asdict(self))
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ActionRecord:
        fields = {name: record[name] for name in cls.__dataclass_fields__}
        if type(fields["step"]) is not int or not isinstance(fields["details"], Mapping):
            raise TypeError("no record of an action")
        if not all(isinstance(fields[name], str) for name in ("do", "outcome", "reason", "incident")):
            raise TypeError("what was done is said in words")
        return cls(**fields)


def left_out(records: Iterable[ActionRecord]) -> int:
    """Steps' worth of data that rewinds have left out."""
    rewinds = (record for record in records if record.do == "rewind" and record.is_done)
    return sum(int(one.details.get(name, 0)) for one in rewinds for name in ("skipped_steps", "skipped_before"))
