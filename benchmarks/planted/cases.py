"""What a run of this benchmark is: how it is made, and what the audit is to say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .ordinary import Run

Make = Callable[[int], Run]  # from a seed


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    Args:
        make: makes it from a seed.
        planted: what is wrong with it, or what of a healthy one could be taken for a defect, in a few words.
        expects: checks of which at least one has to fail; empty for a healthy run.
        against: makes the run that it is held against.
        criteria: as ``audit_run`` takes them; None for those that it takes by itself.
    """

    make: Make
    planted: str
    expects: tuple[str, ...] = ()
    against: Make | None = None
    criteria: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return str(self.make.__name__)
