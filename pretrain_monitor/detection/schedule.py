"""Learning-rate anomalies. A schedule is deterministic, so it is compared with itself and not with noise."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from .alarm import Alarm, Chart

JUMP_UP = 3.0  # one-step increase that no usual warm-up makes
_RESTART = 1.25  # a resumed or decaying schedule goes on where it was, within some steps of decay
_DROP = 3.0  # one-step decrease that begins a second warm-up, or a step of a staircase
_WARMS_UP = 5  # rises in a row that tell the two apart
_GROWTH = 5.0  # a jump exceeds the usual step of the schedule by this factor
_ZERO_FOR_LONG = 50  # samples; a schedule that ends at zero gets there once


class LearningRateRule:
    """Jump, restart at resume, zero for long. Non-finite rates are reported by the detector like any other."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._changes: deque[float] = deque(maxlen=16)  # recent absolute one-step changes
        self._zeros = 0
        self._was_positive = False
        self._is_decaying = False
        # After a drop: the rate before it and the rises since; None while there is nothing to wait for.
        self._drop: tuple[float, int] | None = None

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
        if is_resume:
            alarm = self._resume(rate, last, change)
        else:
            alarm = self._jump(rate, last, change) or self._second_warm_up(rate, last, change)
        if rate != last:
            self._is_decaying = rate < last
        self._changes.append(change)
        return alarm

    def _resume(self, rate: float, last: float, change: float) -> Alarm | None:
        usual = max(self._changes, default=0.0)
        low, high = sorted((abs(rate), abs(last)))
        if change > _GROWTH * usual and high > _RESTART * low:
            return _alarm("restart", high / low if low else math.inf, _RESTART, rate, last)
        return None

    def _jump(self, rate: float, last: float, change: float) -> Alarm | None:
        # The first steps of a warm-up multiply the rate too; only a change unlike the previous ones is a jump.
        limit = _RESTART if self._is_decaying else JUMP_UP
        if last <= 0 or len(self._changes) < 2 or rate <= limit * last or change <= _GROWTH * max(self._changes):
            return None
        return _alarm("jump", rate / last, limit, rate, last)

    def _second_warm_up(self, rate: float, last: float, change: float) -> Alarm | None:
        """A log of a resumed run does not say so, but a rate that drops and then warms up again does."""
        if self._drop is None:
            if rate < last / _DROP and self._changes and change > _GROWTH * max(self._changes):
                self._drop = (last, 0)
            return None
        before, rises = self._drop
        self._drop = (before, rises + 1) if rate > last else None
        if self._drop is None or rises + 1 < _WARMS_UP:
            return None
        self._drop = None
        return _alarm("restart", before / rate, _RESTART, rate, before, rows_ago=_WARMS_UP)

    def state_dict(self) -> dict[str, Any]:
        return {
            "last": self._last,
            "changes": list(self._changes),
            "zeros": self._zeros,
            "was_positive": self._was_positive,
            "is_decaying": self._is_decaying,
            "drop": self._drop,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last = state["last"]
        self._changes.extend(state["changes"])
        self._zeros = state["zeros"]
        self._was_positive = state["was_positive"]
        self._is_decaying = state["is_decaying"]
        self._drop = None if state["drop"] is None else (state["drop"][0], state["drop"][1])


def _alarm(what: str, score: float, threshold: float, rate: float, before: float | None, *, rows_ago: int = 0) -> Alarm:
    detail = {"what": what, "before": before, "after": rate, "rows_ago": rows_ago}
    return Alarm("learning_rate", Chart.SCHEDULE, score, threshold, rate, before, detail)
