"""What looking back makes of one incident, or of a stretch that no incident covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..telemetry import Incident, Kind


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One verdict of the finished run.

    Args:
        detected_step: of an incident, where it was told live; of what only looking back finds, the step of its peak,
            or the first of a level that lasted. It is the one to score.
        row: of ``detected_step`` in the series of the loss, -1 without a loss.
        end_step: None where it never came back, or nobody knows.
        was_alert: what it was live; False for what live detection did not tell.
        reason: in words, with numbers.
        incident_id: None if only looking back found it.
    """

    onset_step: int
    detected_step: int
    end_step: int | None
    row: int
    kind: Kind
    is_alert: bool
    was_alert: bool
    reason: str
    incident_id: str | None = None

    @property
    def source(self) -> Literal["live", "offline"]:
        return "offline" if self.incident_id is None else "live"

    @property
    def is_demoted(self) -> bool:
        return self.was_alert and not self.is_alert

    @property
    def is_promoted(self) -> bool:
        """An incident that was information live; what is new altogether is no promotion."""
        return self.incident_id is not None and self.is_alert and not self.was_alert


def taken_over(
    incident: Incident, row: int, reason: str, *, is_alert: bool | None = None, kind: Kind | None = None
) -> Reviewed:
    """The verdict on an incident, by default the one it has and its kind; the reason says what speaks for it."""
    return Reviewed(
        onset_step=incident.onset_step,
        detected_step=incident.detected_step,
        end_step=incident.end_step,
        row=row,
        kind=kind or incident.kind,
        is_alert=incident.is_alert if is_alert is None else is_alert,
        was_alert=incident.is_alert,
        reason=reason,
        incident_id=incident.id,
    )
