"""Whether an update is left out, decided from the gradient norm before the optimizer runs."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from torch import Tensor

from ..actions.settings import SkipStep
from ..distributed import full_scalar

WARM_UP = 64  # norms before any can be called extreme
MEMORY = 128  # norms
SD_OF_MEAN_DEVIATION = math.sqrt(math.pi / 2)  # of a normal distribution
SMALLEST_SD = 1e-3  # of the log norm
MOST_IN_A_ROW = 5  # extreme ones; then this is how large norms are now


class StepGate:
    """The same answer on every rank: the norm is the same there, and nothing else counts.

    What is usual is learned from updates that were made. Norms that are not finite or were called extreme do not enter,
    so that one of them does not change what the next are held against.

    Args:
        settings: None lets everything pass.
    """

    def __init__(self, settings: SkipStep | None) -> None:
        self.settings = settings
        self._skipped: deque[int] = deque()
        self._in_a_row = 0
        self._seen = 0
        self._centre = self._deviation = 0.0

    @property
    def is_on(self) -> bool:
        return self.settings is not None

    def reason_to_skip(self, norm: Any, *, may_be_infinite: bool = False) -> str | None:
        """Why the update should be left out; None lets it pass.

        Reads the norm: on a device, the host waits for it.

        Args:
            norm: of all gradients before clipping.
            may_be_infinite: somebody else takes care of what is not finite.
        """
        if self.settings is None or norm is None:
            return None
        value = _number(norm)
        if not math.isfinite(value):
            return None if may_be_infinite else f"the gradient norm is {value}"
        reason = self._extreme(value)
        if reason is None:
            self._learn(value)
        return reason

    def may_skip(self, step: int) -> bool:
        """Whether the budget allows to leave out the update of ``step``; if so it counts."""
        assert self.settings is not None
        while self._skipped and step - self._skipped[0] >= self.settings.per_steps:
            self._skipped.popleft()
        if len(self._skipped) >= self.settings.at_most:
            return False
        self._skipped.append(step)
        return True

    def rewound(self, step: int) -> None:
        """The training went back to ``step``."""
        self._skipped = deque(min(skipped, step) for skipped in self._skipped)
        self._in_a_row = 0

    def _extreme(self, value: float) -> str | None:
        assert self.settings is not None
        limit = self.settings.extreme_sd
        if limit is None or self._seen < WARM_UP or value <= 0:
            return None
        sd = max(SD_OF_MEAN_DEVIATION * self._deviation, SMALLEST_SD)
        score = (math.log(value) - self._centre) / sd
        if score <= limit:
            self._in_a_row = 0
            return None
        self._in_a_row += 1
        if self._in_a_row > MOST_IN_A_ROW:
            self._seen = self._in_a_row = 0  # learn anew
            return None
        return f"the gradient norm is {value:.3g}, {score:.0f} sd above the usual {math.exp(self._centre):.3g}"

    def _learn(self, value: float) -> None:
        if value <= 0:
            return
        x = math.log(value)
        self._seen += 1
        weight = max(1 / self._seen, 1 / MEMORY)
        if self._seen == 1:
            self._centre, self._deviation = x, 0.0
            return
        # One large norm below the limit moves what is usual by no more than three deviations would.
        largest = 3 * self._deviation if self._seen > WARM_UP else math.inf
        gap = max(-largest, min(largest, x - self._centre))
        self._centre += weight * gap
        self._deviation += weight * (abs(gap) - self._deviation)


def _number(norm: Any) -> float:
    value = full_scalar(norm)
    return float(value.item()) if isinstance(value, Tensor) else float(value)
