"""What looking back makes of the alerts, as a finding."""

from __future__ import annotations

from .found import finding
from .material import Material
from .model import Finding, Place, Table
from .reviewed import Reviewed
from .words import counted

_CHECK, _TITLE = "stability/second_look", "Found only by looking back"
_FEWEST_ROWS = 100
_SHOWN = 40


def second_look(material: Material) -> Finding:
    """Instabilities that nobody was told of live; beside them the alerts that looking back does not confirm."""
    if len(material.loss) < _FEWEST_ROWS:
        return finding(
            _CHECK,
            _TITLE,
            value=None,
            missing=f"the loss of {_FEWEST_ROWS} steps or more",
        )
    changed = [one for one in material.reviewed if one.is_alert != one.was_alert]
    found = [one for one in changed if one.is_alert]
    dropped = len(changed) - len(found)
    told = sum(one.was_alert for one in material.reviewed)
    summary = f"{counted(len(found), 'instability')} beyond the {counted(told, 'alert')} that were told"
    if dropped:
        summary += f"; {dropped} of these are not confirmed by what came after"
    return finding(
        _CHECK,
        _TITLE,
        value=float(len(found)),
        summary=summary,
        table=Table(
            titles=["onset", "kind", "told as", "looking back", "why"],
            rows=[_row(one) for one in changed[:_SHOWN]],
            marked=[at for at, one in enumerate(changed[:_SHOWN]) if one.is_alert],
        )
        if changed
        else None,
        places=[
            Place(
                signal="loss", first_step=one.onset_step, last_step=one.end_step or one.detected_step, note=one.reason
            )
            for one in found[:_SHOWN]
        ],
        advice="Look at these steps as at alerts: what was too small or too early to be told may have harmed as well.",
    )


def _row(one: Reviewed) -> list[str]:
    told = "nothing" if one.incident_id is None else "alert" if one.was_alert else "information"
    return [f"{one.onset_step:,}", one.kind.value, told, "alert" if one.is_alert else "no alert", one.reason]
