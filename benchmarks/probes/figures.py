"""Figures beside what they are held against, as rows of one table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.detection.table import Table

_COLUMNS = ("figure", "probe", "beside", "compared", "asked", "met")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row.

    Args:
        here: what the probe gave.
        beside: what lm-evaluation-harness or the bare forward pass gave.
        is_met: None where nothing is asked.
    """

    what: str
    here: str
    beside: str
    compared: str
    asked: str = ""
    is_met: bool | None = None


def table_of(title: str, figures: Sequence[Figure], note: str = "") -> Table:
    met = {True: "yes", False: "no", None: ""}
    rows = tuple((f.what, f.here, f.beside, f.compared, f.asked, met[f.is_met]) for f in figures)
    return Table(title, _COLUMNS, rows, note)


def machine() -> str:
    """What a reader needs to know of the machine to judge times: other work on it slows both sides."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{torch.get_num_threads()} threads on {os.cpu_count()} cores, load {load}"
