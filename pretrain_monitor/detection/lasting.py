"""Changes that last, of a quantity that is set and not measured: batch size, sequence length, tokens per step."""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

_LASTS = 5  # samples in a row on the same side of the level
_GAIN = 1 / 8  # of the level, which follows what lies within its tolerance
_TRUSTED, _MOST_TRUST, _FORFEIT = 16, 64, 8
_CLEARLY = 2.5  # tolerances away from the level: then the first sample says it


class Shift(NamedTuple):
    """From which step on a quantity has another value."""

    step: int
    before: float
    after: float


class LastingLevel:
    """The level of one quantity, and the shift when another one has taken its place.

    Five samples in a row on the same side make a shift: the short batch that ends an epoch does not. A quantity that
    strays often, such as the length of batches padded to their longest row, has no level that could shift: each
    sample at the level earns a point of trust, each that strays and comes back costs eight, and it takes sixteen.

    >>> level = LastingLevel(tolerance=0.2)
    >>> [level.update(step, 256.0 if step < 30 else 512.0) for step in range(1, 35)][-1]
    Shift(step=30, before=256.0, after=512.0)

    Args:
        tolerance: a value beyond this factor, 0.2 for 20 %, is another one.
    """

    def __init__(self, tolerance: float) -> None:
        self._factor = 1.0 + tolerance
        self._clear_factor = 1.0 + _CLEARLY * tolerance
        self._level: float | None = None
        self._apart: list[tuple[int, float]] = []  # steps and values of those that stray right now
        self._trust = 0

    @property
    def unsettled(self) -> Shift | None:
        """A shift that is not yet known to last: of two samples, or of one that lies far away."""
        if not self._apart or self._level is None or self._trust < _TRUSTED:
            return None
        shift = Shift(self._apart[0][0], self._level, self._apart[-1][1])
        is_clear = not shift.before / self._clear_factor <= shift.after <= shift.before * self._clear_factor
        return shift if is_clear or len(self._apart) > 1 else None

    def update(self, step: int, value: float) -> Shift | None:
        """Take in one finite value; the shift that is now known to last, if there is one."""
        level = self._level
        if level is None:
            self._level = level = value
        is_above = value > level * self._factor
        if not is_above and not value < level / self._factor:
            if self._apart:
                self._come_back()
            self._level = level + _GAIN * (value - level)
            self._trust = min(self._trust + 1, _MOST_TRUST)
            return None
        if self._apart and (self._apart[0][1] > level) != is_above:
            self._come_back()
        self._apart.append((step, value))
        if len(self._apart) < _LASTS:
            return None
        shift = Shift(self._apart[0][0], level, statistics.median_low(value for _, value in self._apart))
        self._level = shift.after
        self._apart.clear()
        return shift if self._trust >= _TRUSTED else None

    def _come_back(self) -> None:
        self._apart.clear()
        self._trust = max(self._trust - _FORFEIT, 0)

    def state_dict(self) -> dict[str, Any]:
        return {"level": self._level, "apart": [list(stray) for stray in self._apart], "trust": self._trust}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._level = state["level"]
        self._apart = [(step, value) for step, value in state["apart"]]
        self._trust = state["trust"]
