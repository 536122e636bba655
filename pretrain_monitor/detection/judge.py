"""When a chart that stands out is an alarm: thresholds, cool-down, and what quiet times teach of the run's own tail."""

from __future__ import annotations

from typing import Any

import numpy as np

from .alarm import Chart
from .codec import decode, encode
from .residual import Floats
from .thresholds import (
    EXCURSION_ENDS,
    EXCURSION_LEVEL,
    FORGET_AFTER,
    OUTLIER_LEVEL,
    Budget,
    Tails,
    budget_of,
    chart_floor,
)

COOL_DOWN = 150  # samples after an alarm, and before the charts start, from which no tail is learned


class Judge:
    """One entry a signal: its tails, and how long it still cools down after an alarm.

    Args:
        false_alarms_per_10k: alarms a healthy run may raise in 10,000 samples.
    """

    def __init__(self, false_alarms_per_10k: float) -> None:
        self._rate = false_alarms_per_10k
        self._budgets: list[Budget] = []
        self._floors = np.zeros((2, 0))  # lowest level and scale that can be an alarm
        self._tails: list[Tails] = []
        self._learned = np.zeros(0)
        self._cool = np.zeros(0)
        # Largest chart value of the excursion now under way, 0.0 if there is none.
        self._level_peak = np.zeros(0)
        self._scale_peak = np.zeros(0)

    def add(self, name: str) -> None:
        budget = budget_of(name, self._rate)
        self._budgets.append(budget)
        floors = [[chart_floor(budget.level)], [chart_floor(budget.scale)]]
        self._floors = np.append(self._floors, floors, axis=1)
        self._tails.append(Tails())
        self._learned = np.append(self._learned, 0.0)
        self._cool = np.append(self._cool, 0.0)
        self._level_peak = np.append(self._level_peak, 0.0)
        self._scale_peak = np.append(self._scale_peak, 0.0)

    def forget(self, column: int) -> None:
        """The signal is judged on another scale from here on: what its tail looked like says nothing."""
        self._tails[column] = Tails()
        self._learned[column] = 0.0
        self._level_peak[column] = self._scale_peak[column] = 0.0

    def pass_one(self, column: int, *, learns: bool = True) -> bool:
        """Count one sample of a signal; whether the tail may learn from it."""
        is_quiet = bool(self._cool[column] <= 0) and learns
        if is_quiet:
            self._learned[column] += 1
        elif self._cool[column] > 0:
            self._cool[column] -= 1
        return is_quiet

    def pass_together(self, columns: Any, learns: Any) -> Any:
        """``pass_one`` for many signals; ``learns`` says which of them have come that far."""
        cool = self._cool[columns]
        quiet = (cool <= 0) & learns
        self._learned[columns] += quiet
        self._cool[columns] = np.maximum(cool - 1, 0)
        return quiet

    def is_notable(self, column: int, u: float, level: float, scale: float) -> bool:
        """Follow the excursions of a signal's charts; whether the sample needs a judgement. Most do not."""
        is_notable = u > OUTLIER_LEVEL or level > self._floors[0, column] or scale > self._floors[1, column]
        if level > EXCURSION_LEVEL:
            self._level_peak[column] = max(self._level_peak[column], level)
        elif level < EXCURSION_ENDS and self._level_peak[column]:
            is_notable = True
        if scale > EXCURSION_LEVEL:
            self._scale_peak[column] = max(self._scale_peak[column], scale)
        elif scale < EXCURSION_ENDS and self._scale_peak[column]:
            is_notable = True
        return is_notable

    def notable(self, columns: Any, u: Floats, level: Floats, scale: Floats) -> Any:
        """``is_notable`` for many signals."""
        found = u > OUTLIER_LEVEL
        for peaks, chart, floors in (
            (self._level_peak, level, self._floors[0]),
            (self._scale_peak, scale, self._floors[1]),
        ):
            found |= chart > floors[columns]
            peak = np.maximum(peaks[columns], chart * (chart > EXCURSION_LEVEL))
            peaks[columns] = peak
            found |= (chart < EXCURSION_ENDS) & (peak > 0)
        return found

    def judge(
        self, column: int, u: float, level: float, scale: float, *, is_quiet: bool, may_alarm: bool
    ) -> list[tuple[Chart, float, float]]:
        """Charts over their thresholds at a notable sample, with score and threshold; then learn from it.

        Nothing that happens within the cool-down of an alarm teaches the tails.
        """
        tails, budget = self._tails[column], self._budgets[column]
        tails.samples = float(self._learned[column])
        fired = tails.exceeded(u, level, scale, budget) if may_alarm else []
        if is_quiet and u > OUTLIER_LEVEL:
            tails.learn_outlier(u, budget.outlier)
        if level < EXCURSION_ENDS and (peak := float(self._level_peak[column])):
            if is_quiet:
                tails.learn_level(peak, budget.level)
            self._level_peak[column] = 0.0
        if scale < EXCURSION_ENDS and (peak := float(self._scale_peak[column])):
            if is_quiet:
                tails.learn_scale(peak, budget.scale)
            self._scale_peak[column] = 0.0
        if fired:
            self._cool[column] = COOL_DOWN
            charts = {chart for chart, _, _ in fired}
            if Chart.LEVEL in charts:
                self._level_peak[column] = 0.0
            if Chart.SCALE in charts:
                self._scale_peak[column] = 0.0
        if tails.samples > FORGET_AFTER:
            tails.forget()
            self._learned[column] = tails.samples
        return fired

    def thresholds(self, column: int) -> tuple[float, float, float]:
        """What outlier, level and scale chart of a signal have to exceed by now."""
        tails, budget = self._tails[column], self._budgets[column]
        tails.samples = float(self._learned[column])
        return (
            tails.outlier_threshold(budget.outlier),
            tails.level_threshold(budget.level),
            tails.scale_threshold(budget.scale),
        )

    def outlier_probability(self, column: int, u: float) -> float:
        """How often a signal's quiet noise is as far above trend as ``u``."""
        self._tails[column].samples = float(self._learned[column])
        return self._tails[column].outlier_probability(u)

    def state_dict(self) -> dict[str, Any]:
        return {
            "learned": encode(self._learned),
            "cool": encode(self._cool),
            "peaks": encode(np.array([self._level_peak, self._scale_peak])),
            "tails": [tails.state_dict() for tails in self._tails],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._learned = decode(state["learned"])
        self._cool = decode(state["cool"])
        self._tails = [Tails(**tails) for tails in state["tails"]]
        self._level_peak, self._scale_peak = (row.copy() for row in decode(state["peaks"]))
