"""Loss and gradient norm together: two values that are each within what noise does now and then, but not at once."""

from __future__ import annotations

import math
from typing import Any

from .alarm import Alarm, Chart

PAIR = ("loss", "grad_norm")
NEAR_ROWS = 2
SHARE = 0.1  # of the false-alarm budget
_EACH = 3.5  # sd: what neither may fall short of


class JointRule:
    """The product of the two tail probabilities against the budget (Fisher 1932, for two independent tests).

    Args:
        false_alarms_per_10k: the whole budget; this rule takes its share of it.
    """

    def __init__(self, false_alarms_per_10k: float) -> None:
        # Any of the neighbouring rows may make the pair.
        self._threshold = _threshold(SHARE * false_alarms_per_10k / 1e4 / (2 * NEAR_ROWS + 1))
        self._last: dict[str, tuple[int, float, float]] = {}  # signal -> row, -log p, value

    def concerns(self, name: str, u: float) -> bool:
        """Whether a value so far above trend may be one of a pair."""
        return name in PAIR and u >= _EACH

    def update(self, row: int, name: str, value: float, probability: float) -> list[Alarm]:
        """Take in one value that concerns the rule; alarms for both signals if it makes a pair.

        Args:
            row: number of the sample.
            probability: how often the signal's noise is as far above trend.
        """
        evidence = -math.log(max(probability, 1e-300))
        self._last[name] = (row, evidence, value)
        other = PAIR[1 - PAIR.index(name)]
        found = self._last.get(other)
        if found is None or row - found[0] > NEAR_ROWS:
            return []
        score = evidence + found[1]
        if score <= self._threshold:
            return []
        del self._last[other]
        return [
            Alarm(signal, Chart.JOINT, score, self._threshold, value)
            for signal, value in ((name, value), (other, found[2]))
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"last": {name: list(entry) for name, entry in self._last.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last = {name: (entry[0], entry[1], entry[2]) for name, entry in state["last"].items()}


def _threshold(q: float) -> float:
    """The s with P(-log p1 - log p2 > s) = exp(-s) (1 + s) = q for two independent uniform p1, p2."""
    s = -math.log(q)
    for _ in range(50):
        s = -math.log(q) + math.log1p(s)
    return s
