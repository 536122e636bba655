"""A drawing area of a terminal: lines in braille dots, everything else in whole characters.

A cell has eight dots, two by four, so a curve has eight times the resolution of text; where the encoding has no such
characters a curve is drawn in asterisks. Later parts lie over earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..detection.residual import Floats

_BRAILLE = 0x2800
_DOT = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row within a cell
DOTS_ACROSS, DOTS_DOWN = 2, 4


class Canvas:
    """Cells of ``width`` by ``height``, over which values from ``low`` to ``high`` and steps are laid.

    Args:
        places: steps to the unit interval, as is ``heights`` for values; what lies outside is drawn at the edge.
    """

    def __init__(self, width: int, height: int, *, has_dots: bool) -> None:
        self.width, self.height = width, height
        self._has_dots = has_dots
        self._characters = [[" "] * width for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]
        self._dots = np.zeros((height, width), dtype=int)

    def fill(self, x: Floats, low: Floats, high: Floats, character: str, style: str) -> None:
        """A band between two curves; all arguments in the unit interval, from below."""
        columns = self._columns(x)
        for column in range(self.width):
            here = columns == column
            if here.any():
                bottom, top = self._row(float(np.mean(low[here]))), self._row(float(np.mean(high[here])))
                for row in range(top, bottom + 1):
                    self._put(row, column, character, style)

    def trace(self, x: Floats, y: Floats, character: str, style: str) -> None:
        """A line of whole characters, one a column: what moves slowly, as a trend or a threshold does."""
        finite = np.isfinite(y)
        columns, heights = self._columns(x[finite]), y[finite]
        if not len(columns):
            return
        for column in range(int(columns.min()), int(columns.max()) + 1):
            here = columns == column
            # Between two samples of a short stretch it goes straight on.
            height = float(np.mean(heights[here])) if here.any() else float(np.interp(column, columns, heights))
            self._put(self._row(height), column, character, style)

    def curve(self, x: Floats, y: Floats, style: str, character: str = "*") -> None:
        """Every sample, joined by straight lines; a NaN interrupts it."""
        across, down = (DOTS_ACROSS, DOTS_DOWN) if self._has_dots else (1, 1)
        places = np.clip(np.round(x * (self.width * across - 1)), 0, self.width * across - 1)
        heights = np.round((1 - np.clip(y, 0, 1)) * (self.height * down - 1))
        before: tuple[int, int] | None = None
        for place, height in zip(places, heights, strict=True):
            if not math.isfinite(height):
                before = None
                continue
            here = int(place), int(height)
            for column, row in _between(before or here, here):
                if self._has_dots:
                    self._dots[row // down, column // across] |= _DOT[column % across][row % down]
                    self._styles[row // down][column // across] = style
                else:
                    self._put(row, column, character, style)
            before = here

    def over(self, x: Floats, y: Floats, character: str, style: str) -> None:
        """A straight stretch that must be seen over a curve without hiding it: one character in two columns."""
        columns = self._columns(x)
        for column in range(int(columns.min()), int(columns.max()) + 1, 2):
            row = self._row(float(np.interp(column, columns, y)))
            self._dots[row, column] = 0
            self._put(row, column, character, style)

    def column_of(self, x: float) -> int:
        return int(self._columns(np.array([x]))[0])

    def point(self, x: float, y: float, character: str, style: str) -> None:
        row, column = self._row(y), self.column_of(x)
        self._dots[row, column] = 0
        self._put(row, column, character, style)

    def vertical(self, x: float, character: str, style: str) -> None:
        column = self.column_of(x)
        for row in range(self.height):
            self._put(row, column, character, style)

    def lines(self) -> Iterable[list[tuple[str, str]]]:
        """Each line as stretches of text and style."""
        for row in range(self.height):
            parts: list[tuple[str, str]] = []
            for column in range(self.width):
                dots = int(self._dots[row, column])
                character = chr(_BRAILLE + dots) if dots else self._characters[row][column]
                style = self._styles[row][column] if character != " " else ""
                if parts and parts[-1][1] == style:
                    parts[-1] = parts[-1][0] + character, style
                else:
                    parts.append((character, style))
            yield parts

    def _columns(self, x: Floats) -> np.ndarray:
        return np.clip(np.round(np.asarray(x) * (self.width - 1)), 0, self.width - 1).astype(int)

    def _row(self, y: float) -> int:
        return round((1 - min(max(y, 0.0), 1.0)) * (self.height - 1))

    def _put(self, row: int, column: int, character: str, style: str) -> None:
        self._characters[row][column] = character
        self._styles[row][column] = style


def _between(start: tuple[int, int], stop: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """The dots of a straight line, both ends included."""
    steps = max(abs(stop[0] - start[0]), abs(stop[1] - start[1]), 1)
    for k in range(steps + 1):
        yield (
            round(start[0] + (stop[0] - start[0]) * k / steps),
            round(start[1] + (stop[1] - start[1]) * k / steps),
        )
