"""The state of every signal, one column each: lists of plain floats for a few signals, one array for many."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from .charts import CHART_ROWS, LEVEL_SHIFTS
from .codec import decode, encode
from .residual import RESIDUAL_ROWS, SEEN, Floats

# After the rows of the residual: the CUSUMs of the level and the scale chart, and the largest value that each of the
# two charts has had since it was last over and judged.
CUSUM_ROWS = slice(RESIDUAL_ROWS, RESIDUAL_ROWS + CHART_ROWS)
LEVEL_ROWS = slice(CUSUM_ROWS.start, CUSUM_ROWS.start + len(LEVEL_SHIFTS))
SCALE_ROWS = slice(LEVEL_ROWS.stop, CUSUM_ROWS.stop)
LEVEL_PEAK, SCALE_PEAK = CUSUM_ROWS.stop, CUSUM_ROWS.stop + 1
STATE_ROWS = SCALE_PEAK + 1

State = MutableSequence[float] | Floats


class SignalStates:
    """Exactly one of ``lists`` and ``array`` is the truth: ``lists`` until there are more than ``few`` signals.

    >>> states = SignalStates(few=1)
    >>> states.add()
    >>> states.of(0)[SEEN] = 7.0
    >>> states.add()
    >>> states.lists is None, states.seen()
    (True, [7.0, 0.0])
    """

    def __init__(self, few: int) -> None:
        self._few = few
        self.lists: list[list[float]] | None = []
        self.array = np.zeros((STATE_ROWS, 0))

    def add(self) -> None:
        """A signal more. The array is another one afterwards; views of the old one show what was."""
        if self.lists is not None:
            self.lists.append([0.0] * STATE_ROWS)
            if len(self.lists) > self._few:
                self.array = np.ascontiguousarray(np.array(self.lists).T)
                self.lists = None
        else:
            self.array = np.concatenate([self.array, np.zeros((STATE_ROWS, 1))], axis=1)

    def of(self, column: int) -> State:
        """The state of one signal, to be read and to be changed."""
        return self.array[:, column] if self.lists is None else self.lists[column]

    def seen(self) -> list[float]:
        """Finite values that each signal has had."""
        if self.lists is not None:
            return [state[SEEN] for state in self.lists]
        seen: list[float] = self.array[SEEN].tolist()
        return seen

    def state_dict(self) -> dict[str, Any]:
        return encode(self.array if self.lists is None else np.array(self.lists).reshape(-1, STATE_ROWS).T)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Only after as many signals were added as there were then."""
        array = decode(state)
        if self.lists is None:
            self.array[:] = array
        else:
            self.lists = array.T.tolist()
