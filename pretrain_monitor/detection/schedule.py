"""Learning-rate anomalies. A schedule is deterministic, so it is compared with itself and not with noise."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from .alarm import Alarm, Chart

JUMP_UP = 3.0  # one-step increase that no schedule without restarts makes after warm-up
_RESUME_TOLERANCE = 1.25  # a resumed schedule goes on where it was, within some steps of decay
_GROWTH = 5.0  # a jump exceeds the usual step of the schedule by this factor
_ZERO_FOR_LONG = 50  # samples; a schedule that ends at zero gets there once


class LearningRateRule:
    """Jump, restart at resume, zero for long. Non-finite rates are reported by the detector like any other."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._changes: deque[float] = deque(maxlen=16)  # recent absolute one-step changes
        self._zeros = 0
        self._was_positive = False

    def update(self, rate: float, meta: Mapping[str, Any] | None) -> Alarm | None:
        """Judge one finite learning rate against the ones before it."""
        last, self._last = self._last, rate
        if rate != 0:
            self._zeros = 0
            self._was_positive = True
        elif self._was_positive:
            self._zeros += 1
            if self._zeros == _ZERO_FOR_LONG:
                return _alarm("zero", self._zeros, _ZERO_FOR_LONG, rate, 0.0)
        if rate < 0:
            return _alarm("negative", 1.0, 0.0, rate, last)
        if last is None:
            return None
        change = abs(rate - last)
        is_resume = bool(meta and "resumed_from" in meta)
        alarm = self._resume(rate, last, change) if is_resume else self._jump(rate, last, change)
        self._changes.append(change)
        return alarm

    def _resume(self, rate: float, last: float, change: float) -> Alarm | None:
        usual = max(self._changes, default=0.0)
        low, high = sorted((abs(rate), abs(last)))
        if change > _GROWTH * usual and high > _RESUME_TOLERANCE * low:
            return _alarm("restart", high / low if low else math.inf, _RESUME_TOLERANCE, rate, last)
        return None

    def _jump(self, rate: float, last: float, change: float) -> Alarm | None:
        # The first steps of a warm-up multiply the rate too; only a change unlike the previous ones is a jump.
        if last <= 0 or len(self._changes) < 2 or rate <= JUMP_UP * last or change <= _GROWTH * max(self._changes):
            return None
        return _alarm("jump", rate / last, JUMP_UP, rate, last)

    def state_dict(self) -> dict[str, Any]:
        return {
            "last": self._last,
            "changes": list(self._changes),
            "zeros": self._zeros,
            "was_positive": self._was_positive,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last = state["last"]
        self._changes.extend(state["changes"])
        self._zeros = state["zeros"]
        self._was_positive = state["was_positive"]


def _alarm(what: str, score: float, threshold: float, rate: float, before: float | None) -> Alarm:
    detail = {"what": what, "before": before, "after": rate}
    return Alarm("learning_rate", Chart.SCHEDULE, score, threshold, rate, before, detail)
