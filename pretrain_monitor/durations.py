"""Lengths of time, for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """
    >>> duration(40), duration(150), duration(9000), duration(400000)
    ('40 s', '2 min', '2.5 h', '4.6 days')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
