"""Incidents in the words and shapes of a terminal: pure functions, nothing is printed here."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..detection.messages import number
from ..printable import clean
from ..telemetry import Incident, Severity, Status, in_order

STYLES = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}
ENDINGS = {Status.RECOVERED: "green", Status.PERSISTENT: "yellow"}
_MAX_WIDTH = 110
_MAX_ROWS = 20


def headline(incident: Incident, was: Severity | None = None) -> str:
    """Severity, kind and place.

    Args:
        was: the severity it was told with before, if this is news of a worse one.
    """
    severity = incident.severity.upper() + (f" (was {was})" if was is not None else "")
    text = f"{severity}: {words(incident.kind)} at step {incident.onset_step:,}"
    late = incident.detected_step - incident.onset_step
    return f"{text}, seen {late:,} steps later" if late > 1 else text


def alert_panel(incident: Incident, was: Severity | None = None, width: int = _MAX_WIDTH) -> RenderableType:
    """What a person should not overlook. Texts of the run are never read as markup."""
    style = STYLES[incident.severity]
    body = [Text(clean(incident.message), style="bold")]
    if incident.advice:
        body.append(Text.assemble(("What to do: ", style), clean(incident.advice)))
    title = Text(headline(incident, was), style=f"bold {style} reverse")
    return Panel(Group(*body), title=title, title_align="left", border_style=style, width=min(width, _MAX_WIDTH))


def alert_lines(incident: Incident, was: Severity | None = None) -> list[str]:
    """The same for a log file."""
    lines = [f"{headline(incident, was)}: {clean(incident.message)}"]
    return [*lines, f"what to do: {clean(incident.advice)}"] if incident.advice else lines


def update_line(incident: Incident) -> str:
    """What an alert that was told before has turned into."""
    return f"{words(incident.kind)}: {clean(incident.message)}"


def closing_line(incident: Incident, told: Incident) -> str:
    """How it ended.

    Args:
        told: the incident as it was told before.
    """
    text = f"{words(incident.kind)} at step {incident.onset_step:,}"
    if told.onset_step != incident.onset_step:
        text += f" (told as {words(told.kind)} at step {told.onset_step:,})"
    elif told.kind != incident.kind:
        text += f" (told as {words(told.kind)})"
    if incident.status is Status.RECOVERED:
        text += " has recovered"
        if incident.end_step is not None:
            steps = incident.end_step - incident.onset_step
            text += f": over at step {incident.end_step:,}, after {count(steps, 'step')}"
    elif incident.status is Status.PERSISTENT:
        text += " is here to stay: no way back to trend so far"
    else:
        text += " was not over when the run ended"
    excess = incident.excess_loss
    if excess is not None and math.isfinite(excess) and "loss" in incident.signals:
        text += f"; excess loss {number(excess)} nats x steps"
    return text


def summary_line(incidents: Sequence[Incident], steps: int, first: int, last: int) -> str:
    """What was watched and what came of it."""
    alerts = sum(incident.is_alert for incident in incidents)
    text = (
        f"watched {count(steps, 'step')} ({first:,} to {last:,}): {count(alerts, 'alert') if alerts else 'no alerts'}"
    )
    notes = len(incidents) - alerts
    return f"{text}, {notes:,} info" if notes else text


def summary_table(incidents: Sequence[Incident], width: int) -> Table:
    """The last incidents in order of onset."""
    table = Table(box=None, pad_edge=False, header_style="bold", width=min(width, _MAX_WIDTH))
    table.add_column("step", justify="right", no_wrap=True)
    for column in ("kind", "severity", "status"):
        table.add_column(column, no_wrap=True)
    table.add_column("what happened", ratio=1)
    for incident in _last(incidents):
        table.add_row(
            f"{incident.onset_step:,}",
            words(incident.kind),
            Text(incident.severity, style=STYLES[incident.severity]),
            words(incident.status),
            Text(clean(incident.message)),
        )
    return table


def summary_lines(incidents: Sequence[Incident]) -> list[str]:
    """The same for a log file."""
    return [
        f"  step {i.onset_step:,}  {i.severity}  {words(i.kind)}  {words(i.status)}: {clean(i.message)}"
        for i in _last(incidents)
    ]


def next_commands(run_dir: Path, incidents: Sequence[Incident] = ()) -> list[str]:
    """What to type to see more, as why the worst alert was told."""
    run = shlex.quote(str(run_dir))
    commands = [f"pretrain-monitor {command} {run}" for command in ("tensorboard", "replay")]
    alerts = [incident for incident in incidents if incident.is_alert]
    if alerts:
        commands.append(f"pretrain-monitor explain {run} {shlex.quote(worst(alerts).id)}")
    return commands


def worst(incidents: Sequence[Incident]) -> Incident:
    """The most severe; of several the last."""
    return max(incidents, key=lambda incident: (incident.severity.rank, incident.detected_step))


def words(name: str) -> str:
    return name.replace("_", " ")


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _last(incidents: Sequence[Incident]) -> list[Incident]:
    return in_order(incidents)[-_MAX_ROWS:]
