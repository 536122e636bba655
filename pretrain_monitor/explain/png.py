"""A drawing as PNG, with matplotlib; nothing of pyplot, whose figures belong to the whole process."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..detection.messages import number
from ..printable import clean
from .drawing import Drawing, Line, Panel, Role
from .looks import BAND_COLOUR, COLOURS, DASHES, INK, PAPER
from .panels import draw, incident_line
from .story import Explanation
from .words import facts

_WIDTH, _UNIT, _DPI = 11.0, 0.62, 110  # inches, inches for each unit of weight, dots to the inch
_TOP_LINES = 120  # characters of the message in a line
_ABOVE = (Role.SEGMENT, Role.BLOCK, Role.THRESHOLD)
_FORMAT = FuncFormatter(lambda value, _: number(value, 3))
_STEPS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def write_png(explanation: Explanation, path: Path) -> None:
    """The picture, with the sentence above it and the first facts below."""
    incident = explanation.incident
    drawing = draw(explanation)
    figure = figure_of(drawing, header=[incident_line(incident), clean(incident.message)], footer=_footer(explanation))
    save(figure, path)


def save(figure: Figure, path: Path | IO[bytes], dpi: int = _DPI) -> None:
    with warnings.catch_warnings():
        # A name may hold what the font has not; a box in its place is all there is to be had.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, format="png", dpi=dpi)


def figure_of(
    drawing: Drawing, header: Sequence[str] = (), footer: Sequence[str] = (), *, width: float = _WIDTH
) -> Figure:
    """All panels one above the other, with a header and a footer of plain lines; ``width`` in inches."""
    lines = [part for text in header for part in textwrap.wrap(text, _TOP_LINES) or [""]]
    weights = [panel.weight for panel in drawing.panels]
    head, foot, gap = 0.24 * len(lines) + 0.35, 0.19 * len(footer) + 0.5, 0.45
    height = head + foot + _UNIT * sum(weights) + gap * max(len(weights) - 1, 0)
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    FigureCanvasAgg(figure)
    top = height - head
    for panel in drawing.panels:
        tall = _UNIT * panel.weight
        axes = figure.add_axes((0.82 / width, (top - tall) / height, 1 - 1.0 / width, tall / height))
        draw_panel(axes, drawing, panel, width - 1.0, is_last=panel is drawing.panels[-1])
        top -= tall + gap
    for place, text in enumerate(lines):
        weight = "bold" if place == 0 else "normal"
        y = 1 - (0.16 + 0.24 * place) / height
        figure.text(0.02, y, text, color=INK, fontsize=11, weight=weight, va="center", parse_math=False)
    for place, text in enumerate(footer):
        y = (0.19 * (len(footer) - place) - 0.05) / height
        figure.text(0.02, y, text, color=INK, fontsize=8.5, va="center", parse_math=False)
    return figure


def draw_panel(axes: Axes, drawing: Drawing, panel: Panel, inches: float, *, is_last: bool) -> None:
    """One panel, so many ``inches`` wide."""
    low, high = panel.limits()
    axes.set_facecolor(PAPER)
    axes.set_xlim(drawing.first, drawing.last)
    if drawing.is_log:
        axes.set_xscale("log")
    if panel.is_log:
        axes.set_yscale("log")
        room = (high / low) ** 0.04
        axes.set_ylim(low / room, high * room**3)
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.06 * (high - low)
        # The names of the marks are at the top.
        above = 3 * room if panel.weight >= 3 else room
        axes.set_ylim(low if panel.bottom == 0 else low - room, high + above)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(_FORMAT)
    if panel.is_empty:
        axes.set_yticks([])
    for band in panel.bands:
        axes.fill_between(band.steps, band.lower, band.upper, color=BAND_COLOUR, linewidth=0, label=band.label)
    for line in panel.lines:
        is_above = line.role in _ABOVE
        width = 2.4 if line.role in (Role.SEGMENT, Role.BLOCK) else 1.3 if line.role is Role.FROZEN else 1.0
        axes.plot(
            line.steps, line.values,
            color=COLOURS[line.role], linewidth=width, dashes=DASHES.get(line.role, (None, None)),
            label=_legend_label(panel, line), zorder=4 if is_above else 3, solid_joinstyle="bevel",
        )  # fmt: skip
    _draw_points(axes, panel, low, high)
    for mark in drawing.marks:
        axes.axvline(
            mark.step, color=COLOURS[mark.role], linewidth=1.1, dashes=DASHES.get(mark.role, (None, None)), zorder=2
        )
    axes.set_title(panel.title, loc="left", fontsize=9.5, color=INK, pad=4, parse_math=False)
    _legend(axes, panel, room=inches)
    _steps_below(axes, drawing, is_last=is_last)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
    if panel.weight >= 3:
        _name_marks(axes, drawing)


def _draw_points(axes: Axes, panel: Panel, low: float, high: float) -> None:
    for role in (Role.ALARM, Role.NONFINITE):
        points = [point for point in panel.points if point.role is role]
        if not points:
            continue
        heights = [high if point.value is None else min(max(point.value, low), high) for point in points]
        marker = "^" if role is Role.ALARM else "x"
        label = "alarm" if role is Role.ALARM else points[0].label
        axes.plot(
            [point.step for point in points], heights,
            marker=marker, linestyle="none", color=COLOURS[role], markersize=6, label=label, zorder=5, clip_on=False,
        )  # fmt: skip
    if (highest := panel.beyond) is not None:
        axes.annotate(
            highest.label, (highest.step, high), fontsize=8, color=COLOURS[highest.role], va="center",
            xytext=(8, 0), textcoords="offset points", parse_math=False,
        )  # fmt: skip


def _legend_label(panel: Panel, line: Line) -> str:
    """Nothing, for matplotlib a leading underscore, where title or band say it already: room is short."""
    is_said = line.role is Role.TREND or line.label == panel.title.removesuffix(" (for comparison)")
    return f"_{line.label}" if is_said else line.label


def _legend(axes: Axes, panel: Panel, room: float) -> None:
    """Beside the title, in letters as small as it takes to fit into ``room`` inches."""
    handles, labels = axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    if not shown:
        return
    wanted = 0.085 * len(panel.title) + sum(0.062 * len(label) + 0.38 for label in shown)
    legend = axes.legend(
        shown.values(), shown.keys(), loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(shown),
        fontsize=7.5 * min(1.0, room / wanted), frameon=False, borderaxespad=0.1, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_color(INK)
        text.set_parse_math(False)


def _steps_below(axes: Axes, drawing: Drawing, *, is_last: bool) -> None:
    if drawing.is_log:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(_STEPS)
    if is_last:
        axes.set_xlabel("step" + (" (log scale)" if drawing.is_log else ""), fontsize=8.5, color=INK)


def _name_marks(axes: Axes, drawing: Drawing) -> None:
    """Names inside the panel at its top, those too close to one another in one."""
    transform = axes.get_xaxis_transform()
    to_share = axes.transData + axes.transAxes.inverted()
    labels: list[tuple[float, float, str, str]] = []  # share of the width, step, text, colour
    for mark in sorted(drawing.marks, key=lambda mark: mark.step):
        share = float(to_share.transform((mark.step, axes.get_ylim()[1]))[0])
        text = f"{mark.label} {mark.step:,.0f}"
        if labels and share < labels[-1][0] + 0.011 * len(labels[-1][2]):
            first, step, before, colour = labels[-1]
            labels[-1] = first, step, f"{before}, {text}", colour
        else:
            labels.append((share, mark.step, text, COLOURS[mark.role]))
    for share, step, text, colour in labels:
        is_left = share + 0.0085 * len(text) > 1
        axes.annotate(
            text, (step, 1.0), xycoords=transform, xytext=(-3 if is_left else 3, -3), textcoords="offset points",
            ha="right" if is_left else "left", va="top", fontsize=8, color=colour, parse_math=False, zorder=6,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
        )  # fmt: skip


def _footer(explanation: Explanation) -> list[str]:
    lines = []
    for name, text in facts(explanation):
        wrapped = textwrap.wrap(f"{name}: {text}", 150, subsequent_indent="    ")
        lines += wrapped
    return [*lines, *(f"note: {note}" for note in draw(explanation).notes)]
