"""Results in the terminal."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ...printable import clean
from ..results import ModelResult, Results
from . import wording
from .sheets import Sheet, task_sheet, text_sheet
from .tokenizing import tokenizer_sheet

_GAP = 2  # between two columns


def tables(results: Results, reference: ModelResult | None = None) -> list[RenderableType]:
    """What to print, part by part."""
    sheets = (text_sheet(results, reference), task_sheet(results, reference), tokenizer_sheet(results))
    parts: list[RenderableType] = [_models(results), *(_Fitting(sheet) for sheet in sheets if sheet is not None)]
    notes = wording.notes(results, reference)
    if notes:
        parts.append(Text("\n".join(f"note: {clean(note)}" for note in notes), style="dim"))
    return parts


def _models(results: Results) -> Text:
    measured = results.measured
    if len(measured) == 1:
        (model,) = measured
        heading = Text.assemble((clean(model.name), "bold"), f"  {clean(wording.model_words(model))}")
        return Text("\n").join(
            [
                heading,
                *(
                    Text(f"  {probe.name}: {wording.cost_words(probe)}", "dim")
                    for probe in model.probes
                    if probe.metrics
                ),
            ]
        )
    # What sets of models have in common is said once: checkpoints of a run differ in nothing but their steps.
    alike: dict[str, list[str]] = {}
    for model in measured:
        alike.setdefault(wording.size_words(model), []).append(model.name)
    lines = []
    for words, names in alike.items():
        which = names[0] if len(names) == 1 else f"{len(names)} models, {names[0]} to {names[-1]}"
        lines.append(Text.assemble((clean(which), "bold"), f"  {clean(words)}"))
    return Text("\n").join(lines)


class _Fitting:
    """A table in which words and numbers stay whole where there is room for that, and nothing is ever left out.

    By itself rich takes the room from whichever column, down to none.
    """

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sheet = self._sheet
        table = Table(box=None, pad_edge=False, header_style="bold")
        for number, (title, width) in enumerate(zip(sheet.titles, _widths(sheet, options.max_width), strict=True)):
            table.add_column(Text(clean(title)), justify="right" if number else "left", width=width, overflow="fold")
        for number, row in enumerate(sheet.rows):
            table.add_row(*(Text(clean(cell)) for cell in row), style="yellow" if number in sheet.marked else "")
        yield table


def _widths(sheet: Sheet, width: int) -> list[int] | list[None]:
    """Of each column: its longest word, and of the room that is left what it needs for one line, first things first."""
    columns = [[clean(title), *(clean(row[at]) for row in sheet.rows)] for at, title in enumerate(sheet.titles)]
    widths = [max(cell_len(word) for cell in cells for word in (cell.split() or [""])) for cells in columns]
    room = width - sum(widths) - _GAP * (len(widths) - 1)
    if room < 0:
        return [None] * len(widths)
    for at, cells in enumerate(columns):
        more = min(max(map(cell_len, cells)) - widths[at], room)
        widths[at] += more
        room -= more
    return widths
