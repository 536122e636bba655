"""A drawing as one page that needs nothing else: plotly's script is in it, so it opens offline and can be zoomed."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..page import FIGURE_CONFIG, page
from ..printable import clean
from .drawing import Drawing, Panel, Role
from .looks import BAND_COLOUR, COLOURS, DASHES, GRID, INK, PAPER
from .panels import draw, incident_line
from .story import Explanation
from .words import facts

_UNIT, _GAP = 62, 46  # pixels for each unit of weight, and between two panels
_WIDTHS = {Role.SEGMENT: 4.0, Role.BLOCK: 4.0, Role.SIGNAL: 1.3, Role.CHART: 1.3}


def write_html(explanation: Explanation, path: Path) -> None:
    """Words first, then every panel over one axis of steps."""
    drawing = draw(explanation)
    entries = [*facts(explanation), *(("note", note) for note in drawing.notes)]
    # A run may end before it has reported anything but a probe that failed.
    figure = (
        figure_of(drawing).to_html(full_html=False, include_plotlyjs=True, config=FIGURE_CONFIG)
        if drawing.panels
        else ""
    )
    listed = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries)
    message = escape(clean(explanation.incident.message))
    body = f"<p>{message}</p>\n<dl>\n{listed}\n</dl>\n{figure}"
    path.write_text(page(incident_line(explanation.incident), body), encoding="utf-8")


def figure_of(drawing: Drawing) -> go.Figure:
    """All panels one above the other; texts are escaped, because plotly reads markup in them."""
    panels = drawing.panels
    height = _UNIT * sum(panel.weight for panel in panels) + _GAP * len(panels) + 60
    figure = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=_GAP / height,
        row_heights=[panel.weight for panel in panels],
        subplot_titles=[escape(panel.title) for panel in panels],
    )
    figure.update_annotations(font_size=13, x=0, xanchor="left")
    named: set[str] = set()
    for row, panel in enumerate(panels, 1):
        for trace in _traces(panel, named):
            figure.add_trace(trace, row=row, col=1)
        _set_heights(figure, drawing, panel, row)
    for mark in drawing.marks:
        figure.add_vline(
            mark.step,
            line_color=COLOURS[mark.role],
            line_width=1.3,
            line_dash=_dash(mark.role) or "solid",
            row="all",
            col=1,
        )
    _name_marks(figure, drawing)
    figure.update_xaxes(
        range=[_scaled(drawing.first, drawing.is_log), _scaled(drawing.last, drawing.is_log)],
        type="log" if drawing.is_log else "linear",
        gridcolor=GRID,
        tickformat=",d",
    )
    figure.update_xaxes(title_text="step", row=len(panels), col=1)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, tickformat="~g")
    figure.update_layout(
        height=height,
        margin={"l": 70, "r": 20, "t": 60, "b": 50},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font_color=INK,
        hovermode="x unified",
        legend={"orientation": "h", "y": -60 / height, "yanchor": "top"},
    )
    return figure


def _traces(panel: Panel, named: set[str]) -> list[Any]:
    traces: list[Any] = []

    def is_new(label: str) -> bool:
        # One entry in the legend for all panels; it switches all of them.
        seen = label in named
        named.add(label)
        return not seen

    for band in panel.bands:
        label = escape(band.label)
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": label}
        traces.append(go.Scatter(x=band.steps, y=band.lower, showlegend=False, **edge))
        traces.append(
            go.Scatter(
                x=band.steps,
                y=band.upper,
                fill="tonexty",
                fillcolor=BAND_COLOUR,
                name=label,
                showlegend=is_new(band.label),
                **edge,
            )
        )
    for line in panel.lines:
        label = escape(line.label)
        # Only a curve takes every step; what is straight between its ends has nothing to say in between.
        hover = "skip" if line.role is Role.SEGMENT else None
        traces.append(
            go.Scatter(
                x=line.steps,
                y=line.values,
                mode="lines",
                name=label,
                legendgroup=label,
                showlegend=is_new(line.label),
                line={"color": COLOURS[line.role], "width": _WIDTHS.get(line.role, 1.5), "dash": _dash(line.role)},
                hoverinfo=hover,
                connectgaps=False,
            )
        )
    _, high = panel.limits()
    for role, symbol in ((Role.ALARM, "triangle-up"), (Role.NONFINITE, "x")):
        points = [point for point in panel.points if point.role is role]
        if points:
            label = "alarm" if role is Role.ALARM else points[0].label
            traces.append(
                go.Scatter(
                    x=[point.step for point in points],
                    y=[high if point.value is None else point.value for point in points],
                    text=[escape(point.label) for point in points],
                    hovertemplate="%{text}",
                    mode="markers",
                    marker={"color": COLOURS[role], "symbol": symbol, "size": 10},
                    name=escape(label),
                    legendgroup=escape(label),
                    showlegend=is_new(label),
                    cliponaxis=False,
                )
            )
    return traces


def _set_heights(figure: go.Figure, drawing: Drawing, panel: Panel, row: int) -> None:
    low, high = panel.limits()
    first, last = _scaled(low, panel.is_log), _scaled(high, panel.is_log)
    room = 0.06 * (last - first)
    # The names of the marks are at the top.
    limits = [first if panel.bottom == 0 else first - room, last + (3 * room if panel.weight >= 3 else room)]
    figure.update_yaxes(
        range=limits,
        type="log" if panel.is_log else "linear",
        row=row,
        col=1,
        showticklabels=not panel.is_empty,
    )
    # Cut off at the edge: named there, because nothing shows before somebody zooms out.
    if (point := panel.beyond) is not None:
        figure.add_annotation(
            x=_scaled(point.step, drawing.is_log),
            y=last,
            text=f"▲ {escape(point.label)}",
            showarrow=False,
            xanchor="left",
            xshift=-6,
            font_color=COLOURS[point.role],
            row=row,
            col=1,
        )


def _name_marks(figure: go.Figure, drawing: Drawing) -> None:
    names: dict[float, list[str]] = {}
    reach = 0.12 * (_scaled(drawing.last, drawing.is_log) - _scaled(drawing.first, drawing.is_log))
    for mark in sorted(drawing.marks, key=lambda mark: mark.step):
        at = _scaled(mark.step, drawing.is_log)
        near = next((place for place in names if at - place < reach), at)
        names.setdefault(near, []).append(f"{mark.label} {mark.step:,.0f}")
    for place, texts in names.items():
        is_left = place > _scaled(drawing.first, drawing.is_log) + 0.8 * reach / 0.12
        figure.add_annotation(
            x=place,
            xref="x",
            y=1.0,
            yref="y domain",
            text=", ".join(texts),
            showarrow=False,
            yanchor="top",
            xanchor="right" if is_left else "left",
            font_size=12,
            bgcolor="rgba(255,255,255,0.75)",
        )


def _dash(role: Role) -> str | None:
    dashes = DASHES.get(role)
    return None if dashes is None else ",".join(f"{part:g}px" for part in dashes)


def _scaled(value: float, is_log: bool) -> float:
    return math.log10(value) if is_log else value
