"""Colours and dashes of the parts of a picture, in PNG and HTML; a palette that colour-blind people can tell apart."""

from __future__ import annotations

from ..page import GRID, INK, PAPER
from .drawing import Role

__all__ = ["BAND_COLOUR", "COLOURS", "DASHES", "GRID", "INK", "PAPER"]

BAND_COLOUR = "#dbe3ec"
COLOURS = {
    Role.SIGNAL: "#24292f",
    Role.TREND: "#8a97a6",
    Role.FROZEN: "#a5459b",
    Role.SEGMENT: "#e69f00",
    Role.CHART: "#0072b2",
    Role.THRESHOLD: "#d55e00",
    Role.REFERENCE: "#a5459b",
    Role.BLOCK: "#009e9e",
    Role.ALARM: "#c1121f",
    Role.NONFINITE: "#c1121f",
    Role.ONSET: "#0072b2",
    Role.DETECTED: "#c1121f",
    Role.END: "#2e8540",
}
# On and off, in line widths.
DASHES = {
    Role.FROZEN: (5.0, 3.0),
    Role.REFERENCE: (2.0, 2.0),
    Role.THRESHOLD: (6.0, 2.0),
    Role.ONSET: (4.0, 3.0),
    Role.END: (1.0, 2.0),
}
