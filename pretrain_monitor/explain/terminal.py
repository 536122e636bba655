"""A drawing and the words to it, in a terminal of any width, with colours or without, with block characters or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..detection.messages import number
from ..detection.residual import Floats
from ..printable import clean
from ..sinks.wording import STYLES
from .canvas import Canvas
from .drawing import Drawing, Mark, Panel, Role
from .panels import draw, incident_line
from .story import Explanation
from .words import facts

_MAX_WIDTH, _MIN_WIDTH = 120, 40
_LABEL_WIDTH = 9
_ROWS = 3  # for each unit of a panel's weight
_TALL = 3  # weight from which on a panel is one of values, and has the steps written above and below
_BAND = "band"


class _Look(NamedTuple):
    character: str
    plain: str  # where the encoding lacks that
    style: str


_LOOKS: dict[str, _Look] = {
    Role.SIGNAL: _Look("⣀", "*", "bold"),
    Role.CHART: _Look("⣀", "*", "blue"),
    _BAND: _Look("░", ".", "bright_black"),
    Role.TREND: _Look("·", ",", "bright_black"),
    Role.FROZEN: _Look("╌", "~", "magenta"),
    Role.SEGMENT: _Look("━", "=", "yellow"),
    Role.REFERENCE: _Look("┈", "+", "magenta"),
    Role.THRESHOLD: _Look("─", "-", "red"),
    Role.BLOCK: _Look("▪", "o", "cyan"),
    Role.ALARM: _Look("▲", "A", "bold red"),
    Role.NONFINITE: _Look("✗", "x", "bold red"),
    Role.ONSET: _Look("│", "|", "cyan"),
    Role.DETECTED: _Look("┃", "|", "yellow"),
    Role.END: _Look("┊", ":", "green"),
}
# What lies under what. Segments are drawn over the curve, in every second column only.
_TRACED = (Role.REFERENCE, Role.FROZEN, Role.THRESHOLD, Role.BLOCK)
_CURVES = (Role.CHART, Role.SIGNAL)


def print_explanation(explanation: Explanation, console: Console) -> None:
    """The picture, and under it the words, which are what remains on the screen."""
    width = max(min(console.width, _MAX_WIDTH), _MIN_WIDTH)
    drawing = draw(explanation)
    console.print(_headline(explanation))
    for line in picture(drawing, width, has_blocks=_can_show_blocks(console.encoding)):
        console.print(line, no_wrap=True, crop=True, overflow="crop", soft_wrap=False)
    console.print(_words(explanation, drawing), width=width)


def picture(drawing: Drawing, width: int, *, has_blocks: bool = True) -> Iterator[Text]:
    """All panels, line by line, none wider than ``width``."""
    for place, panel in enumerate(drawing.panels):
        yield from _legend(panel, width, has_blocks)
        if panel.weight >= _TALL:
            yield _mark_line(drawing, width)
        yield from _panel_lines(drawing, panel, width, has_blocks)
        # Charts below one another share the axis below the last of them.
        if panel.weight >= _TALL or place + 1 == len(drawing.panels) or drawing.panels[place + 1].weight >= _TALL:
            yield _step_line(drawing, width)


def _headline(explanation: Explanation) -> RenderableType:
    incident = explanation.incident
    return Group(
        Text(incident_line(incident), style=f"bold {STYLES[incident.severity]}"),
        Text(clean(incident.message), style="bold"),
        Text(""),
    )


def _words(explanation: Explanation, drawing: Drawing) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True, max_width=16, overflow="ellipsis")
    table.add_column(ratio=1)
    for name, text in facts(explanation):
        table.add_row(Text(name), Text(text))
    for note in drawing.notes:
        table.add_row(Text("note"), Text(note))
    return table


def _can_show_blocks(encoding: str) -> bool:
    try:
        "".join(look.character for look in _LOOKS.values()).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _character(name: str, has_blocks: bool) -> str:
    look = _LOOKS[name]
    return look.character if has_blocks else look.plain


def _legend(panel: Panel, width: int, has_blocks: bool) -> Iterator[Text]:
    """The title, and what each character of the panel stands for, broken between entries."""
    shown: dict[str, str] = {}
    for band in panel.bands:
        shown.setdefault(_BAND, band.label)
    for line in panel.lines:
        if line.role in (*_TRACED, *_CURVES, Role.SEGMENT) and line.label != panel.title:
            shown.setdefault(line.role, line.label)
    for point in panel.points:
        shown.setdefault(point.role, "alarm" if point.role is Role.ALARM else point.label)
    if (highest := panel.beyond) is not None:
        shown[highest.role] += f", up to {highest.label}"
    text = Text(panel.title, style="bold")
    for role, label in shown.items():
        entry = Text.assemble((_character(role, has_blocks), _LOOKS[role].style), f" {label}")
        if len(text) + 2 + len(entry) > width:
            text.truncate(width)
            yield text
            text = Text(" ")
        text.append("  ").append_text(entry)
    text.truncate(width)
    yield text


def _panel_lines(drawing: Drawing, panel: Panel, width: int, has_blocks: bool) -> Iterator[Text]:
    height = _ROWS * panel.weight
    canvas = Canvas(width - _LABEL_WIDTH - 1, height, has_dots=has_blocks)
    low, high = panel.limits()
    axis = _Axis(low, high, panel.is_log)
    steps = _Axis(drawing.first, drawing.last, drawing.is_log)
    for band in panel.bands:
        known = np.isfinite(band.lower) & np.isfinite(band.upper)
        edges = axis.of(band.lower[known]), axis.of(band.upper[known])
        canvas.fill(steps.of(band.steps[known]), *edges, _character(_BAND, has_blocks), _LOOKS[_BAND].style)
    for mark in drawing.marks:
        canvas.vertical(steps.at(mark.step), _character(mark.role, has_blocks), _LOOKS[mark.role].style)
    for role in _TRACED:
        for line in panel.lines:
            if line.role is role:
                look = _LOOKS[role]
                canvas.trace(steps.of(line.steps), axis.of(line.values), _character(role, has_blocks), look.style)
    for role in _CURVES:
        for line in panel.lines:
            if line.role is role:
                canvas.curve(steps.of(line.steps), axis.of(line.values), _LOOKS[role].style)
    for line in panel.lines:
        if line.role is Role.SEGMENT:
            look = _LOOKS[Role.SEGMENT]
            canvas.over(steps.of(line.steps), axis.of(line.values), _character(line.role, has_blocks), look.style)
    for point in panel.points:
        # A NaN has no height: it is marked where people look for what went up.
        at = 1.0 if point.value is None else axis.at(point.value)
        canvas.point(steps.at(point.step), at, _character(point.role, has_blocks), _LOOKS[point.role].style)
    labels = {0: high, height // 2: axis.back(1 - (height // 2) / (height - 1)), height - 1: low}
    for row, parts in enumerate(canvas.lines()):
        label = number(labels[row], 3) if row in labels and not panel.is_empty else ""
        yield Text.assemble((f"{label[:_LABEL_WIDTH]:>{_LABEL_WIDTH}} ", "bright_black"), *parts)


class _Axis:
    """Values to the unit interval and back."""

    def __init__(self, low: float, high: float, is_log: bool) -> None:
        self._is_log = is_log
        self._low, self._high = (math.log10(low), math.log10(high)) if is_log else (low, high)

    def of(self, values: Floats) -> Floats:
        """NaN stays NaN; what lies outside is at the edge."""
        values = np.asarray(values, dtype=float)
        if self._is_log:
            values = np.where(
                values > 0, np.log10(np.maximum(values, 1e-300)), np.where(np.isnan(values), np.nan, -300)
            )
        return np.clip((values - self._low) / (self._high - self._low), 0.0, 1.0)

    def at(self, value: float) -> float:
        return float(self.of(np.array([value]))[0])

    def back(self, share: float) -> float:
        value = self._low + share * (self._high - self._low)
        return 10**value if self._is_log else value


def _mark_line(drawing: Drawing, width: int) -> Text:
    """The names of the marks over their places; of marks too close for two labels in one."""
    room = width - _LABEL_WIDTH - 1
    steps = _Axis(drawing.first, drawing.last, drawing.is_log)
    labels: list[tuple[int, str, str]] = []
    for mark in sorted(drawing.marks, key=lambda mark: mark.step):
        column, label = round(steps.at(mark.step) * (room - 1)), _label(mark)
        if labels and column < labels[-1][0] + len(labels[-1][1]) + 2:
            start, before, style = labels[-1]
            labels[-1] = start, f"{before}, {label}", style
        else:
            labels.append((column, label, _LOOKS[mark.role].style))
    text = Text(" " * (_LABEL_WIDTH + 1))
    for place, (column, label, style) in enumerate(labels):
        stop = labels[place + 1][0] if place + 1 < len(labels) else room
        start = max(min(column, stop - len(label)), len(text) - _LABEL_WIDTH - 1)
        text.append(" " * (start + _LABEL_WIDTH + 1 - len(text))).append(label[: max(room - start, 0)], style=style)
    return text


def _label(mark: Mark) -> str:
    return f"{mark.label} {mark.step:,.0f}"


def _step_line(drawing: Drawing, width: int) -> Text:
    """First, middle and last step below a panel."""
    room = width - _LABEL_WIDTH - 1
    steps = _Axis(drawing.first, drawing.last, drawing.is_log)
    first, middle, last = (f"{step:,.0f}" for step in (drawing.first, steps.back(0.5), drawing.last))
    half = room // 2
    line = f"{first:<{half - len(middle) // 2}}{middle}"
    line = f"{line:<{room - len(last)}}{last}" if len(line) + len(last) < room else f"{first:<{room - len(last)}}{last}"
    return Text(" " * (_LABEL_WIDTH + 1) + line, style="bright_black")
