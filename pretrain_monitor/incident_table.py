"""Incidents as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from .printable import clean
from .screen import Screen
from .telemetry import Incident, Severity

_COLOURS = {Severity.INFO: "dim", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}


def print_table(incidents: Sequence[Incident]) -> None:
    """All incidents in their order, and how many of them are alerts."""
    console = Screen()
    table = Table(box=None, pad_edge=False, header_style="bold")
    # What `explain` asks for, to be copied whole: a long one is broken and not cut.
    table.add_column("id", overflow="fold", max_width=24)
    for column in ("onset", "kind", "severity", "status"):
        table.add_column(column, no_wrap=True)
    table.add_column("what happened", ratio=1)
    for incident in incidents:
        cells = (
            Text(clean(incident.id)),
            f"{incident.onset_step:,}",
            incident.kind.value,
            incident.severity.value,
            incident.status.value,
        )
        # The name of a signal is part of the message, and comes from the log.
        table.add_row(*cells, Text(clean(incident.message)), style=_COLOURS[incident.severity])
    console.print(table)
    alerts = sum(incident.is_alert for incident in incidents)
    console.print(f"{alerts} alert{'' if alerts == 1 else 's'}, {len(incidents) - alerts} for information")
