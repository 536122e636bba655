"""Limits: the one knob of a rule, and the grids on which one is looked for."""

from __future__ import annotations

from dataclasses import Field, replace
from typing import Any, ClassVar, Self

# From most to least sensitive, fine enough that a rule finds a limit close to any rate of false alarms.
SIGMAS = (
    *(1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0),
    *(11.0, 12.0, 13.0, 15.0, 17.0, 20.0, 25.0, 30.0, 50.0),
)
RATIOS = (
    *(1.02, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4, 1.45, 1.5, 1.6, 1.75),
    *(2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0),
)


class Limited:
    """A rule that is a dataclass and whose knob is its field ``limit``.

    No dataclass itself: frozen ones and others inherit it, and neither may inherit the other.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def with_limit(self, limit: float) -> Self:
        """The same rule, with the same other fields, at another limit."""
        return replace(self, limit=limit)
