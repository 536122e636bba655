"""Tells alerts in the terminal as they happen, beside progress bars and logging; and sums up at the end."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import rich
from rich.console import Console, RenderableType
from rich.text import Text

from ..actions.orders import ActionRecord
from ..actions.words import action_title
from ..config import ConsoleConfig
from ..printable import clean
from ..telemetry import Event, Incident, Sample, Severity, Status
from . import wording
from .probe_wording import ProbeCourses
from .telling import News, Teller

_MIN_PANEL_WIDTH = 40
_PREFIX = "pretrain-monitor: "


class ConsoleSink:
    """One panel when an alert is raised or gets worse, one line when it is over, one table at the end.

    Where the output is no terminal, or a very narrow one, all of it is plain lines.

    Args:
        run_dir: named in the closing hint of what to type next; None gives no hint.
    """

    def __init__(self, config: ConsoleConfig, run_dir: Path | None) -> None:
        self._minimum = Severity(config.minimum_severity)
        self._has_summary = config.summary
        self._run_dir = run_dir
        self._teller = Teller(self._minimum)
        self._incidents: dict[str, Incident] = {}
        self._probed = ProbeCourses() if config.probes else None
        self._steps = 0
        self._first_step = 0
        self._last_step = 0

    def on_sample(self, sample: Sample) -> None:
        if sample.meta is not None and "probes" in sample.meta:
            line = None if self._probed is None else self._probed.add(sample)
            if line is not None:
                self._print([_PREFIX + line])
            return  # no step of the training
        if not self._steps:
            self._first_step = sample.step
        if sample.step != self._last_step or not self._steps:
            self._steps += 1
        self._last_step = sample.step

    def on_event(self, event: Event) -> None:
        incident = event.incident
        self._incidents[incident.id] = incident
        telling = self._teller.tell(event)
        if telling is None:
            return
        told = telling.told
        if telling.news is News.OTHER:
            self._print([_PREFIX + wording.update_line(incident)])
        elif telling.news is not News.OVER or told is None:
            self._tell_alert(incident, None if told is None else told.severity)
        elif not self._is_left_to_the_summary(incident):
            line = _PREFIX + wording.closing_line(incident, told)
            self._print([Text(line, style=wording.ENDINGS.get(incident.status, ""))])

    def on_action(self, record: ActionRecord) -> None:
        if record.do == "rewind" and record.is_done:
            self._forget_after(record.step)
        about = f": {clean(record.reason)}" if record.reason else ""
        self._print([Text(f"{_PREFIX}{clean(action_title(record))}{about}", style="bold")])

    def close(self) -> None:
        if not (self._has_summary and self._steps):
            return
        if self._probed is not None and self._probed.by_name:
            console = rich.get_console()
            rows: list[RenderableType] = [*self._probed.lines()]
            self._print(rows if _is_plain(console) else [self._probed.table(console.width)])
        incidents = list(self._incidents.values())
        shown = [incident for incident in incidents if incident.severity >= self._minimum]
        head = _PREFIX + wording.summary_line(incidents, self._steps, self._first_step, self._last_step)
        if not shown:
            self._print([head])
            return
        commands = [] if self._run_dir is None else wording.next_commands(self._run_dir, shown)
        console = rich.get_console()
        if _is_plain(console):
            self._print([head, *wording.summary_lines(shown), *(f"{_PREFIX}next: {command}" for command in commands)])
        else:
            table = wording.summary_table(shown, console.width)
            self._print([Text(head, style="bold"), table, *(f"next: {command}" for command in commands)])

    def _forget_after(self, step: int) -> None:
        """The run went back to ``step``."""
        self._teller.forget_after(step)
        self._incidents = {key: one for key, one in self._incidents.items() if one.detected_step <= step}

    def _is_left_to_the_summary(self, incident: Incident) -> bool:
        return incident.status is Status.ENDED_RUN and self._has_summary

    def _tell_alert(self, incident: Incident, was: Severity | None) -> None:
        console = rich.get_console()
        if _is_plain(console):
            self._print([_PREFIX + line for line in wording.alert_lines(incident, was)])
        else:
            self._print([wording.alert_panel(incident, was, console.width)])

    def _print(self, parts: list[RenderableType]) -> None:
        console = rich.get_console()
        with _progress_bars_out_of_the_way(console):
            if hasattr(sys.stdout, "rich_proxied_file"):
                # A rich progress bar is on, maybe of another console: what is written here appears above it.
                sys.stdout.write(_rendered(parts, console))
            else:
                _put(parts, console)


def _put(parts: list[RenderableType], console: Console) -> None:
    # Lines of a log file are never broken: it is searched line by line.
    is_unbroken = _is_plain(console)
    for part in parts:
        console.print(part, markup=False, highlight=False, soft_wrap=is_unbroken)


def _rendered(parts: list[RenderableType], console: Console) -> str:
    text = io.StringIO()
    has_colour = console.color_system is not None
    twin = Console(file=text, force_terminal=True, width=console.width, color_system="auto" if has_colour else None)
    _put(parts, twin)
    return text.getvalue()


def _is_plain(console: Console) -> bool:
    if console.is_jupyter:
        return False
    return not console.is_terminal or console.is_dumb_terminal or console.width < _MIN_PANEL_WIDTH


@contextlib.contextmanager
def _progress_bars_out_of_the_way(console: Console) -> Iterator[None]:
    """Clear tqdm's bars and draw them again below; rich's own bars need no help."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # nobody has a bar if nobody has imported it
    if tqdm is None:
        yield
        return
    with tqdm.external_write_mode(file=console.file):
        yield
