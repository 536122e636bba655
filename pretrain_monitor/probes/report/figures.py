"""The curves of the results, drawn with plotly."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ...page import GRID, INK, PAPER
from ...printable import clean
from ..results import Results
from .curves import Curve, are_steps

_LINE, _BAND, _BEST, _CHANCE = "#0072b2", "rgba(0,114,178,0.16)", "#e69f00", "#8a97a6"
_COLUMNS = 3
_ROW, _GAP_Y, _GAP_X = 230, 76, 0.07  # pixels, pixels, share of the width
_TOP = 64  # pixels, for plotly's buttons, which would hide a title


def course_figure(results: Results, curves: Sequence[Curve]) -> go.Figure:
    """One panel for each curve over all models, each with its interval."""
    return _panels(results, curves)


def task_figure(results: Results, curves: Sequence[Curve]) -> go.Figure:
    """Over several models one panel for each task; of one model all tasks in one picture. Chance is marked."""
    return _panels(results, curves) if len(results.measured) > 1 else _ladder(curves)


def _panels(results: Results, curves: Sequence[Curve]) -> go.Figure:
    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    height = rows * _ROW + (rows - 1) * _GAP_Y + _TOP + 50
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[_name(curve.domain) for curve in curves],
        horizontal_spacing=_GAP_X,
        vertical_spacing=_GAP_Y / (height - _TOP - 50) if rows > 1 else 0,
    )
    figure.update_annotations(font_size=13)
    has_steps = are_steps(results)
    places = [model.step for model in results.models] if has_steps else list(range(1, len(results.models) + 1))
    for number, curve in enumerate(curves):
        at = {"row": number // columns + 1, "col": number % columns + 1}
        x = [places[point.model] for point in curve.points]
        said = [_name(results.models[point.model].name) for point in curve.points]
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_trace(go.Scatter(x=x, y=[point.lower for point in curve.points], **edge), **at)
        figure.add_trace(
            go.Scatter(x=x, y=[point.upper for point in curve.points], fill="tonexty", fillcolor=_BAND, **edge), **at
        )
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[point.value for point in curve.points],
                customdata=[[point.lower, point.upper] for point in curve.points],
                text=said,
                hovertemplate="%{text}<br>%{y:.4f} (%{customdata[0]:.4f} to %{customdata[1]:.4f})<extra></extra>",
                mode="lines+markers",
                line={"color": _LINE, "width": 1.6},
                marker={"size": 6, "color": [_BEST if point is curve.best else _LINE for point in curve.points]},
                showlegend=False,
            ),
            **at,
        )
        if curve.chance is not None:
            figure.add_hline(curve.chance, line_color=_CHANCE, line_dash="dash", line_width=1.2, **at)
        figure.update_yaxes(title_text=curve.unit if at["col"] == 1 else None, **at)
    axis = {"gridcolor": GRID, "zeroline": False}
    figure.update_yaxes(tickformat="~g", title_font_size=12, title_standoff=4, **axis)
    if has_steps:
        figure.update_xaxes(tickformat=",d", nticks=5, **axis)
    else:
        # Their names are long; they are in the table of models, and where the mouse is.
        figure.update_xaxes(dtick=max(1, len(places) // 8), **axis)
    for number in range(max(0, len(curves) - columns), len(curves)):
        at = {"row": number // columns + 1, "col": number % columns + 1}
        title = "step" if has_steps else "model"
        figure.update_xaxes(title_text=title, title_font_size=12, title_standoff=4, **at)
    _look(figure, height)
    return figure


def _ladder(curves: Sequence[Curve]) -> go.Figure:
    height = 26 * len(curves) + _TOP + 70
    names = [_name(curve.domain) for curve in curves]
    last = [curve.last for curve in curves]
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[point.value for point in last],
            y=names,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [point.upper - point.value for point in last],
                "arrayminus": [point.value - point.lower for point in last],
                "color": _LINE,
                "thickness": 1.6,
                "width": 0,
            },
            mode="markers",
            marker={"color": _LINE, "size": 9},
            name="accuracy, 95 %",
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[curve.chance for curve in curves],
            y=names,
            mode="markers",
            marker={"color": _CHANCE, "symbol": "line-ns-open", "size": 14, "line": {"width": 2}},
            name="chance",
            hovertemplate="%{y}: chance %{x:.3f}<extra></extra>",
        )
    )
    figure.update_xaxes(range=[-0.02, 1.02], gridcolor=GRID, zeroline=False, title_text="accuracy", tickformat="~g")
    figure.update_yaxes(autorange="reversed", gridcolor=GRID, automargin=True)
    _look(figure, height)
    return figure


def _look(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": _TOP, "b": 50},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font_color=INK,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    )


def _name(name: str) -> str:
    """Plotly reads markup in texts."""
    return escape(clean(name))
