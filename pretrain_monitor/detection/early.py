"""The first hundreds of steps, before noise statistics exist: blow-ups judged against the run's own best level."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

from .alarm import Alarm, Chart

_RISE = 1.3  # times the best level so far ...
_RISE_NATS = 0.5  # ... and at least this much above it
_CLEAR, _WEAK, _FALL, _PERSISTS = 2, 1, 2, 4  # what a sample adds or takes, and when it is believed
_AT_ONCE = 2.2  # a loss this many times the best level ...
_AT_ONCE_NATS = 1.5  # ... and this much above it needs no second sample
# Times a small step-to-step change: what a rise must exceed to be clear of noise, once enough are known to say what
# is small; a weaker one must last for longer.
_NOISE, _NOISE_WEAK = 14.0, 9.0
_NOISE_NEEDS, _SKEW_NEEDS, _NOISE_KEEPS = 5, 32, 64
_LEVEL_SAMPLES = 9


class EarlyLossRule:
    """Warm-up blow-ups of the loss, from the second finite sample on.

    The reference is the lowest median of nine consecutive losses: early on the loss falls fast, so a plain
    running mean is too high to see a blow-up, and a plain minimum follows one lucky batch.
    """

    def __init__(self, until: int) -> None:
        self._until = until
        self.seen = 0
        self._recent: deque[float] = deque(maxlen=_LEVEL_SAMPLES)
        self._best: float | None = None
        self._changes: deque[float] = deque(maxlen=_NOISE_KEEPS)
        self._count = 0

    @property
    def reference(self) -> float | None:
        """The best level so far, in nats; None before the first sample."""
        return self._best

    def update(self, loss: float) -> Alarm | None:
        """Judge one finite loss, then learn from it."""
        if self.seen >= self._until:
            return None
        alarm = self._judge(loss)
        self.seen += 1
        if self._recent:
            self._changes.append(abs(loss - self._recent[-1]))
        self._recent.append(loss)
        level = statistics.median(self._recent)
        self._best = level if self._best is None else min(self._best, level)
        return alarm

    def _judge(self, loss: float) -> Alarm | None:
        best = self._best
        if best is None:
            return None
        knows_noise = len(self._changes) >= _NOISE_NEEDS
        rise = loss - best
        is_clear = not knows_noise or not self._is_noise(loss, best, _NOISE)
        is_high = knows_noise and rise > _RISE_NATS and loss > _RISE * best
        if is_high and is_clear:
            self._count += _CLEAR
        elif is_high and not self._is_noise(loss, best, _NOISE_WEAK):
            self._count += _WEAK
        else:
            self._count = max(self._count - _FALL, 0)
        at_once = is_clear and rise > _AT_ONCE_NATS and best > 0 and loss > _AT_ONCE * best
        if self._count >= _PERSISTS or at_once:
            self._count = 0
            ratio = loss / best if best > 0 else float("inf")
            return Alarm("loss", Chart.EARLY, ratio, _RISE, loss, best)
        return None

    def _is_noise(self, loss: float, best: float, factor: float) -> bool:
        """Whether a rise is within what this run's loss does from one step to the next, in nats or by its logarithm.

        The lower quartile of the changes, not the median: a blow-up that swings up and down must not raise its own
        bar. The logarithm is for noise that is skewed, as that of small batches is; it counts once it is well known.
        """
        changes = sorted(self._changes)
        small = changes[len(changes) // 4]
        if loss - best <= factor * small:
            return True
        return len(changes) >= _SKEW_NEEDS and best > 0 and math.log(loss / best) <= factor * small / best

    def state_dict(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "recent": list(self._recent),
            "best": self._best,
            "changes": list(self._changes),
            "count": self._count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        self._recent.extend(state["recent"])
        self._best = state["best"]
        self._changes.extend(state["changes"])
        self._count = state["count"]
