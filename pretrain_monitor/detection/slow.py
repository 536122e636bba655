"""Changes too slow or too small for the level chart: the same chart on blocks of sixteen samples.

The trend of the level chart forgets within some tens of samples and so follows a rise that takes hundreds. A block has
a quarter of a sample's noise and a trend of blocks remembers five hundred samples: a lasting shift of 1.5 sd, or a rise
of a few sd over three thousand samples, stands out there within a few blocks.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from .alarm import Alarm, Chart
from .charts import CHART_ROWS, LEVEL_SHIFTS
from .reading import BlockReading
from .residual import (
    AUTO_DEN,
    FLOOR,
    LEVEL,
    PREDICTED,
    RESIDUAL_ROWS,
    SD,
    SEEN,
    SLOPE,
    VARIANCE,
)
from .scalar import chart_step_one, residual_step_one
from .thresholds import EXCURSION_ENDS, EXCURSION_LEVEL, FORGET_AFTER, Tails

BLOCK_ROWS = 16
_TRIMMED = 2  # largest and smallest samples of a block that do not count: single bad batches
_INIT_BLOCKS = 24
_SETTLES_AGAIN = (36, 48)
_SETTLED_BLOCKS = 64  # until then noise and slope are known badly, and more is asked for
_EARLY_MARGIN = 4.0
_MEMORY_BLOCKS = 32
_KEPT_BLOCKS = 64
_BEFORE_BLOCKS = 6
_ERROR_BLOCKS, _KNOWN_ERRORS, _NEW_ERRORS = 64, 24, 4
_ERROR_MARGIN = 1.2
_MOST_BIAS = 0.7
_LOST_SD = 3.0  # a trend that has been off by so much for hundreds of samples does not find back in its small steps
_NO_RISE_SD, _RISE_SD = 0.5, 1.8
_NEW_LEVEL_SD = 2.0
SHARE = 0.06  # of the false-alarm budget


class SlowChart:
    """Level chart over trimmed means of sixteen losses, on the scale on which the loss is judged.

    Args:
        false_alarms_per_10k: the whole budget; this chart takes its share of it.
    """

    def __init__(self, false_alarms_per_10k: float) -> None:
        self._q = SHARE * false_alarms_per_10k / 1e4 * BLOCK_ROWS
        self._block: list[float] = []
        self._means: deque[tuple[int, float]] = deque(maxlen=_KEPT_BLOCKS)  # first row, mean
        self._errors: deque[float] = deque(maxlen=_ERROR_BLOCKS)  # of the newest predictions
        self._first_row = 0
        self._state: list[float] = []  # as in scalar.py; empty until there are blocks enough
        self._since = [0] * len(LEVEL_SHIFTS)  # first row of the block in which each CUSUM left zero
        self._tails = Tails()
        self._peak = 0.0
        self._takes_level = False
        self.newest: BlockReading | None = None  # the block that the newest loss has completed, if it was judged

    def update(self, row: int, x: float, value: float, noise: float, *, on_hold: bool) -> Alarm | None:
        """Take in one finite loss.

        Args:
            x: the loss on the scale on which it is judged.
            value: the loss in nats.
            noise: sd of the loss around its trend times the root of its correlation time, on that scale.
            on_hold: an alert is open: until it is over the trend goes on as it was and nothing is judged.
        """
        self.newest = None
        if not self._block:
            self._first_row = row
        self._block.append(x)
        if len(self._block) < BLOCK_ROWS:
            return None
        mean = sum(sorted(self._block)[_TRIMMED:-_TRIMMED]) / (BLOCK_ROWS - 2 * _TRIMMED)
        self._block = []
        self._means.append((self._first_row, mean))
        if not self._state:
            if len(self._means) >= _INIT_BLOCKS and not on_hold:
                self._settle(noise)
            return None
        if on_hold:
            self._coast()
            return None
        alarm = self._judge(row, mean, value, noise)
        if len(self._means) in _SETTLES_AGAIN and not self._peak:
            self._settle(noise)
        return alarm

    def restart(self) -> None:
        """An alert is over: begin a new block, and go on from its level if that is not the one expected."""
        self._block = []
        self._takes_level = True
        if self._state:
            self._forget_excursion()

    def leave_scale(self) -> None:
        """The loss is judged on another scale from here on: what was seen so far says nothing."""
        self._block, self._state = [], []
        self._means.clear()
        self._errors.clear()
        self._tails = Tails()
        self._peak = 0.0

    def _settle(self, noise: float) -> None:
        """Trend and noise of the newest two thirds of the blocks, on a line over log(step).

        In its first hundreds of steps a loss follows no straight line, and its errors around one are no noise; over
        log(step) it nearly does (a power law, Kaplan et al. 2020).
        """
        count = len(self._means)
        values = np.array([mean for _, mean in self._means])[count // 3 :]
        newest = self._first_row / BLOCK_ROWS + 1
        clock = np.log(newest - np.arange(len(values))[::-1])
        half = len(values) // 2
        first, second = float(np.median(values[:half])), float(np.median(values[half:]))
        origin, end = float(np.median(clock[:half])), float(np.median(clock[half:]))
        slope = (second - first) / (end - origin)
        residual = values - (first + slope * (clock - origin))
        center = float(np.median(residual))
        spread = 1.4826 * float(np.median(np.abs(residual - center)))
        if not self._state:
            self._state = [0.0] * (RESIDUAL_ROWS + CHART_ROWS)
            self._state[AUTO_DEN] = 1.0
        self._state[SEEN] = newest
        self._state[LEVEL] = first + slope * (float(clock[-1]) - origin) + center
        self._state[SLOPE] = slope / newest
        self._state[FLOOR] = _floor(noise)
        self._state[VARIANCE] = max(spread**2, noise**2 / BLOCK_ROWS, self._state[FLOOR])

    def _quieten(self, noise: float) -> float:
        """Believe no more noise than the newest predictions were off by; by how many sd they were off to one side.

        The noise of a loss falls with it, and the recursive variance forgets too slowly: a chart that is held to the
        noise of the first thousand steps is deaf. So is one whose trend falls less steeply than the loss.
        """
        if len(self._errors) < _KNOWN_ERRORS:
            return 0.0
        state = self._state
        errors = np.array(self._errors)[:-_NEW_ERRORS]
        center = float(np.median(errors))
        spread = 1.4826 * float(np.median(np.abs(errors - center)))
        state[FLOOR] = min(state[FLOOR], _floor(noise))
        state[VARIANCE] = max(min(state[VARIANCE], (_ERROR_MARGIN * spread) ** 2), state[FLOOR])
        bias = center / state[VARIANCE] ** 0.5
        if abs(bias) > _LOST_SD:
            state[LEVEL] += center
            self._errors = deque((error - center for error in self._errors), maxlen=_ERROR_BLOCKS)
            return 0.0
        return float(min(bias, _MOST_BIAS))

    def _coast(self) -> None:
        """Carry the trend on by one block that is not looked at."""
        state = self._state
        state[SEEN] += 1
        state[LEVEL] += state[SLOPE]
        state[SLOPE] *= 1 - 1 / state[SEEN]
        self._forget_excursion()

    def _judge(self, row: int, mean: float, value: float, noise: float) -> Alarm | None:
        state = self._state
        if self._takes_level:
            self._takes_level = False
            if abs(mean - state[LEVEL] - state[SLOPE]) > _NEW_LEVEL_SD * state[VARIANCE] ** 0.5:
                self._coast()
                state[LEVEL] = mean
                return None
        bias = self._quieten(noise)
        u = residual_step_one(state, mean, _MEMORY_BLOCKS) - bias
        self._errors.append(mean - state[PREDICTED])
        before = state[RESIDUAL_ROWS : RESIDUAL_ROWS + len(LEVEL_SHIFTS)]
        level, _ = chart_step_one(state, u)
        for place, old in enumerate(before):
            if old == 0.0:
                self._since[place] = self._first_row
        self._tails.samples += 1
        self._learn(level)
        threshold = self._tails.level_threshold(self._q)
        threshold += _EARLY_MARGIN * max(0.0, 1 - state[SEEN] / _SETTLED_BLOCKS)
        self.newest = BlockReading(self._first_row, mean, state[PREDICTED], state[SD], level, threshold)
        if level <= threshold:
            return None
        bank = state[RESIDUAL_ROWS : RESIDUAL_ROWS + len(LEVEL_SHIFTS)]
        since = self._since[bank.index(level)]
        rise = self._rise(since)
        if rise < _NO_RISE_SD:
            self._forget_excursion()
        if rise < _RISE_SD:
            return None
        self._forget_excursion()
        expected = state[PREDICTED]
        return Alarm("loss", Chart.DRIFT, level, threshold, value, expected, {"rows_ago": row - since})

    def _learn(self, level: float) -> None:
        if level > EXCURSION_LEVEL:
            self._peak = max(self._peak, level)
        elif level < EXCURSION_ENDS and self._peak:
            self._tails.learn_level(self._peak, self._q)
            self._peak = 0.0
        if self._tails.samples > FORGET_AFTER:
            self._tails.forget()

    def _rise(self, since: int) -> float:
        """How far the newest blocks lie above those before the excursion, and not only above a trend that fell, in sd.

        Where a loss that fell stops falling it is next to nothing; a slow rise is at first neither that nor much.
        """
        means = list(self._means)
        before = [mean for first, mean in means if first < since][-_BEFORE_BLOCKS:]
        if not before:
            return 0.0
        newest = sum(mean for _, mean in means[-2:]) / 2
        return (newest - float(np.median(before))) / self._state[SD]

    def _forget_excursion(self) -> None:
        self._state[RESIDUAL_ROWS:] = [0.0] * CHART_ROWS
        self._peak = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "block": list(self._block),
            "means": [list(entry) for entry in self._means],
            "errors": list(self._errors),
            "first_row": self._first_row,
            "state": list(self._state),
            "since": list(self._since),
            "tails": self._tails.state_dict(),
            "peak": self._peak,
            "takes_level": self._takes_level,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._block = list(state["block"])
        self._means.extend((int(row), mean) for row, mean in state["means"])
        self._errors.extend(state["errors"])
        self._first_row = state["first_row"]
        self._state = list(state["state"])
        self._since = list(state["since"])
        self._tails = Tails(**state["tails"])
        self._peak = state["peak"]
        self._takes_level = state["takes_level"]


def _floor(noise: float) -> float:
    """Smallest variance of a block that is believed: blocks cannot be quieter than their samples allow."""
    return (0.7 * noise) ** 2 / BLOCK_ROWS + 1e-18
