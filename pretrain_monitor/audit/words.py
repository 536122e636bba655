"""Numbers in the sentences of findings."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """
    >>> number(3.21456), number(0.000123), number(1234567.0), number(math.nan)
    ('3.215', '0.000123', '1,234,567', 'nan')
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.01 else f"{value:.3g}"


def cell(value: float | None) -> str:
    """A number in a table, a dash where there is none."""
    return "-" if value is None else number(value)


def percent(share: float) -> str:
    """
    >>> percent(0.12345), percent(0.00012)
    ('12.3 %', '0.012 %')
    """
    value = 100 * share
    return f"{value:.1f} %" if abs(value) >= 1 or value == 0 else f"{value:.2g} %"


def steps_of(first: int, last: int) -> str:
    return f"{first:,} to {last:,}"


def counted(count: int, noun: str) -> str:
    """
    >>> counted(1, "alert"), counted(1200, "single bad batch")
    ('1 alert', '1,200 single bad batches')
    """
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun[:-1]}ies" if noun.endswith("ity") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
