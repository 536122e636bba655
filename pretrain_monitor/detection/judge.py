"""When a chart that stands out is an alarm: thresholds, cool-down, and what quiet times teach of the run's own tail."""

from __future__ import annotations

from typing import Any

from .alarm import Chart
from .states import LEVEL_PEAK, SCALE_PEAK, State
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

    It is asked about samples that stand out only; from the numbers of these it knows how many others there were.

    Args:
        false_alarms_per_10k: alarms a healthy run may raise in 10,000 samples.
        warmup: samples of a signal before its charts begin.
    """

    def __init__(self, false_alarms_per_10k: float, warmup: int) -> None:
        self._rate = false_alarms_per_10k
        self._learns_after = float(warmup - COOL_DOWN)
        self._budgets: list[Budget] = []
        self.floors: list[tuple[float, float]] = []  # lowest level and lowest scale that can be an alarm
        self._tails: list[Tails] = []
        # In samples of the signal: up to which one its tails have counted, and the last from which they do not learn.
        self._counted: list[float] = []
        self._cools_until: list[float] = []

    def add(self, name: str) -> None:
        budget = budget_of(name, self._rate)
        self._budgets.append(budget)
        self.floors.append((chart_floor(budget.level), chart_floor(budget.scale)))
        self._tails.append(Tails())
        self._counted.append(0.0)
        self._cools_until.append(self._learns_after)

    def begin(self, column: int, seen: float) -> None:
        """Learn the tails of a signal from its next sample on; what was learned on another scale says nothing."""
        self._tails[column] = Tails()
        self._counted[column] = seen

    def judge(
        self, column: int, state: State, seen: float, u: float, level: float, scale: float, *, may_alarm: bool
    ) -> list[tuple[Chart, float, float]]:
        """Charts over their thresholds at a sample that stands out, with score and threshold; then learn from it.

        Nothing that happens within the cool-down of an alarm teaches the tails.

        Args:
            state: its peaks start again where an excursion is over.
            seen: number of the sample among those of the signal.
        """
        tails, budget = self._counted_to(column, seen), self._budgets[column]
        is_quiet = seen > self._cools_until[column]
        fired = tails.exceeded(u, level, scale, budget) if may_alarm else []
        if is_quiet and u > OUTLIER_LEVEL:
            tails.learn_outlier(u, budget.outlier)
        if level < EXCURSION_ENDS and (peak := float(state[LEVEL_PEAK])) > EXCURSION_LEVEL:
            if is_quiet:
                tails.learn_level(peak, budget.level)
            state[LEVEL_PEAK] = 0.0
        if scale < EXCURSION_ENDS and (peak := float(state[SCALE_PEAK])) > EXCURSION_LEVEL:
            if is_quiet:
                tails.learn_scale(peak, budget.scale)
            state[SCALE_PEAK] = 0.0
        for chart, _, _ in fired:
            self._cools_until[column] = max(self._cools_until[column], seen + COOL_DOWN)
            if chart is Chart.LEVEL:
                state[LEVEL_PEAK] = 0.0
            elif chart is Chart.SCALE:
                state[SCALE_PEAK] = 0.0
        if tails.samples > FORGET_AFTER:
            tails.forget()
        return fired

    def thresholds(self, column: int, seen: float) -> tuple[float, float, float]:
        """What outlier, level and scale chart of a signal have to exceed at its sample number ``seen``."""
        tails, budget = self._counted_to(column, seen), self._budgets[column]
        return (
            tails.outlier_threshold(budget.outlier),
            tails.level_threshold(budget.level),
            tails.scale_threshold(budget.scale),
        )

    def outlier_probability(self, column: int, seen: float, u: float) -> float:
        """How often a signal's quiet noise is as far above trend as ``u``."""
        return self._counted_to(column, seen).outlier_probability(u)

    def _counted_to(self, column: int, seen: float) -> Tails:
        """The tails of a signal, with every quiet sample counted up to number ``seen``."""
        tails = self._tails[column]
        tails.samples += max(seen - max(self._counted[column], self._cools_until[column]), 0.0)
        self._counted[column] = seen
        return tails

    def state_dict(self) -> dict[str, Any]:
        return {
            "counted": list(self._counted),
            "cools_until": list(self._cools_until),
            "tails": [tails.state_dict() for tails in self._tails],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._counted = list(state["counted"])
        self._cools_until = list(state["cools_until"])
        self._tails = [Tails(**tails) for tails in state["tails"]]
