"""The first hundreds of steps, before noise statistics exist: blow-ups judged against the run's own best level."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Any

from .alarm import Alarm, Chart

_RISE = 1.3  # times the best level so far ...
_RISE_NATS = 0.5  # ... and at least this much above it
_PERSISTS = 2  # rises less falls before it is believed
_AT_ONCE = 2.2  # a loss this many times the best level ...
_AT_ONCE_NATS = 1.5  # ... and this much above it needs no second sample
_NOISE = 4.0  # typical step-to-step changes that a rise must exceed
_NOISE_WINDOW = 8  # differences from which the typical one is taken


class EarlyLossRule:
    """Warm-up blow-ups of the loss, from the second finite sample on.

    The reference is the lowest median of three consecutive losses: early on the loss falls fast, so a plain
    running mean is too high to see a blow-up, and a plain minimum follows one lucky batch.
    """

    def __init__(self, until: int) -> None:
        self._until = until
        self.seen = 0
        self._recent: deque[float] = deque(maxlen=3)
        self._best: float | None = None
        self._changes: deque[float] = deque(maxlen=_NOISE_WINDOW)
        self._noise = float("inf")  # the quietest stretch so far: a blow-up must not raise its own bar
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
            if len(self._changes) == _NOISE_WINDOW:
                self._noise = min(self._noise, statistics.median(self._changes))
        self._recent.append(loss)
        level = statistics.median(self._recent)
        self._best = level if self._best is None else min(self._best, level)
        return alarm

    def _judge(self, loss: float) -> Alarm | None:
        best = self._best
        if best is None:
            return None
        noise = self._noise if self._noise < float("inf") else 0.0
        rise = loss - best
        is_high = rise > _RISE_NATS and loss > _RISE * best and rise > _NOISE * noise
        self._count = self._count + 1 if is_high else max(self._count - 1, 0)
        at_once = rise > _AT_ONCE_NATS and best > 0 and loss > _AT_ONCE * best
        if self._count >= _PERSISTS or at_once:
            self._count = 0
            ratio = loss / best if best > 0 else float("inf")
            return Alarm("loss", Chart.EARLY, ratio, _RISE, loss, best)
        return None

    def state_dict(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "recent": list(self._recent),
            "best": self._best,
            "changes": list(self._changes),
            "noise": self._noise if self._noise < float("inf") else None,
            "count": self._count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        self._recent.extend(state["recent"])
        self._best = state["best"]
        self._changes.extend(state["changes"])
        self._noise = float("inf") if state["noise"] is None else state["noise"]
        self._count = state["count"]
