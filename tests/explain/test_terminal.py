"""The picture in a terminal: its width, its characters, and that it shows what it should where it should."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from eventful_runs import RUNS, explanation_of
from rich.console import Console

from pretrain_monitor.explain.canvas import Canvas
from pretrain_monitor.explain.panels import draw
from pretrain_monitor.explain.terminal import picture, print_explanation


class Ascii(io.TextIOWrapper):
    """A terminal that knows nothing but ASCII."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict")

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


def printed(run: str, width: int, *, is_terminal: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None, _environ={})
    print_explanation(explanation_of(run), console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("run", RUNS)
def test_no_line_is_wider_than_the_terminal_and_all_of_it_is_printable(run: str, width: int):
    lines = printed(run, width)
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    assert any("first alarm" in line for line in lines)


def test_a_very_wide_terminal_is_not_filled():
    assert max(map(len, printed("level_shift", 300))) <= 300
    assert max(map(len, map(str.rstrip, printed("level_shift", 300)[3:]))) <= 120


def test_colours_are_for_terminals_only():
    def output(*, is_terminal: bool) -> str:
        system = "standard" if is_terminal else None
        console = Console(file=io.StringIO(), width=80, force_terminal=is_terminal, color_system=system, _environ={})
        print_explanation(explanation_of("level_shift"), console)
        return console.file.getvalue()  # type: ignore[attr-defined]

    assert "\x1b[" in output(is_terminal=True)
    assert "\x1b" not in output(is_terminal=False)


@pytest.mark.parametrize("run", RUNS)
def test_an_encoding_without_block_characters_gets_plain_ones(run: str):
    terminal = Ascii()
    print_explanation(explanation_of(run), Console(file=terminal, width=80, color_system=None, _environ={}))
    text = terminal.text()
    assert "*" in text or "x" in text
    assert "first alarm" in text


@pytest.mark.parametrize("has_blocks", [True, False])
def test_alarms_marks_and_thresholds_are_in_the_columns_and_rows_of_their_values(has_blocks: bool):
    explanation = explanation_of("level_shift")
    drawing = draw(explanation)
    lines = [str(line) for line in picture(drawing, 110, has_blocks=has_blocks)]
    # With the axis over 100 columns from the eleventh on.
    share = (explanation.incident.detected_step - drawing.first) / (drawing.last - drawing.first)
    column = 10 + round(share * 99)
    title = next(place for place, line in enumerate(lines) if line.startswith("level chart of loss"))
    chart = lines[title + 1 : title + 7]
    alarm, threshold = ("▲", "─") if has_blocks else ("A", "-")
    assert any(line[column] == alarm for line in chart[:2])
    assert sum(line.count(threshold) for line in chart) > 80
    named = lines[1] if "onset" in lines[1] else lines[2]
    assert named.index("onset 801") - 10 == round((801 - drawing.first) / (drawing.last - drawing.first) * 99)


def test_names_and_messages_cannot_control_the_terminal():
    explanation = explanation_of("level_shift")
    nasty = "a\x1b[2J[red]b[/red]\nc\u202e" * 3
    track = replace(explanation.tracks[0], name=nasty)
    incident = replace(explanation.incident, message=nasty, advice=nasty, id=nasty, signals=(nasty,))
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, _environ={})
    print_explanation(replace(explanation, incident=incident, tracks=(track,), unshown=(nasty,)), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2J" not in text
    assert "[red]b[/red]" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_single_high_sample_is_never_lost_between_columns():
    x = np.linspace(0, 1, 100_000)
    y = np.zeros(100_000)
    y[54_321] = 1.0
    canvas = Canvas(50, 5, has_dots=True)
    canvas.curve(x, y, "")
    top = "".join(text for text, _ in next(iter(canvas.lines())))
    assert [place for place, character in enumerate(top) if character != " "] == [27]


def test_a_nan_interrupts_a_curve():
    canvas = Canvas(20, 3, has_dots=False)
    canvas.curve(np.array([0.0, 0.2, 0.5, 1.0]), np.array([0.5, 0.5, np.nan, 0.5]), "")
    middle = "".join(text for text, _ in list(canvas.lines())[1])
    assert middle.rstrip() == "*****" + " " * 14 + "*"
