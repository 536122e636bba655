"""One sample through the charts of every signal: one after the other in plain floats, or all at once in arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .alarm import Alarm, Chart
from .charts import CHART_ROWS, LEVEL_SHIFTS, SCALE_RATIOS
from .joint import JointRule
from .judge import Judge
from .residual import PREDICTED, SEEN, Floats
from .scalar import chart_step_one, residual_step_one, stands_out_one
from .scales import Scales, from_scale
from .states import CUSUM_ROWS, LEVEL_ROWS, SCALE_ROWS, SignalStates, State
from .vector import VectorCharts
from .warmup import WarmUp


class Stepper:
    """Advances the charts and has judged what stands out in them.

    Args:
        names: of the signals; the list grows with them.
        memory: time constant of the trend, in samples.
    """

    def __init__(
        self,
        names: list[str],
        states: SignalStates,
        scales: Scales,
        warm_up: WarmUp,
        judge: Judge,
        joint: JointRule,
        memory: int,
    ) -> None:
        self._names = names
        self._states = states
        self._scales = scales
        self._warm_up = warm_up
        self._judge = judge
        self._joint = joint
        self._memory = memory
        self._vector: VectorCharts | None = None

    def step_each(self, row: int, values: list[float], states: list[list[float]]) -> list[Alarm]:
        """One step for few signals; NaN where one has no value.

        Args:
            row: number of the sample, whatever it holds.
        """
        alarms: list[Alarm] = []
        warm_up, is_log, floors = self._warm_up, self._scales.is_log, self._judge.floors
        for column, value in enumerate(values):
            if value != value or not warm_up.is_ready[column]:
                continue
            state = states[column]
            u = residual_step_one(state, math.log(value) if is_log[column] else value, self._memory)
            level, scale = chart_step_one(state, u)
            if not warm_up.are_all_mature:
                seen = state[SEEN]
                if seen <= warm_up.samples:
                    state[CUSUM_ROWS] = [0.0] * CHART_ROWS
                    level = scale = 0.0
                    if seen <= warm_up.judged_from:
                        continue
                elif seen == warm_up.mature_at:
                    warm_up.check_maturity()
            if stands_out_one(state, u, level, scale, floors[column]):
                alarms += self._judged(row, column, value, state, u, level, scale)
        return alarms

    def step_together(self, row: int, values: Floats, *, is_complete: bool) -> list[Alarm]:
        """The same step for many signals.

        Args:
            is_complete: every signal has a value.
        """
        warm_up, vector = self._warm_up, self._vector_charts()
        self._scales.apply(values, out=vector.x)
        if is_complete and not warm_up.waiting:
            stands_out = self._advance(vector)
        else:
            is_idle = np.isnan(values)
            is_idle[warm_up.waiting] = True
            if is_idle.all():
                return []
            # All are advanced, and what has no value is put back: picking the others out would take longer.
            before = vector.array.copy()
            vector.x[is_idle] = math.nan
            stands_out = self._advance(vector) & ~is_idle
            np.copyto(vector.array, before, where=is_idle)
        if not warm_up.are_all_mature:
            warm_up.check_maturity()
        alarms: list[Alarm] = []
        for column in stands_out.nonzero()[0].tolist():
            u, level, scale = vector.white.item(column), vector.level.item(column), vector.scale.item(column)
            alarms += self._judged(row, column, values.item(column), vector.array[:, column], u, level, scale)
        return alarms

    def _vector_charts(self) -> VectorCharts:
        vector = self._vector
        if vector is None or vector.array is not self._states.array:
            floors = np.array(self._judge.floors).T
            vector = self._vector = VectorCharts(self._states.array, np.ascontiguousarray(floors), self._memory)
        return vector

    def _advance(self, vector: VectorCharts) -> NDArray[np.bool_]:
        """Advance all signals; which of them need a judgement."""
        warm_up = self._warm_up
        vector.advance(is_mature=warm_up.are_all_mature)
        if warm_up.are_all_mature:
            return vector.stand_out()
        vector.hold(vector.seen <= warm_up.samples)
        may_count: NDArray[np.bool_] = vector.seen > warm_up.judged_from
        return vector.stand_out() & may_count

    def _judged(
        self, row: int, column: int, value: float, state: State, u: float, level: float, scale: float
    ) -> list[Alarm]:
        """The alarms of a signal that stands out. A CUSUM that raised one starts again from zero."""
        name, seen = self._names[column], float(state[SEEN])
        may_alarm = seen > self._warm_up.outlier_from
        fired = self._judge.judge(column, state, seen, u, level, scale, may_alarm=may_alarm)
        alarms: list[Alarm] = []
        if may_alarm and self._joint.concerns(name, u):
            probability = self._judge.outlier_probability(column, seen, u)
            alarms += self._joint.update(row, name, value, probability)
        if fired:
            expected = from_scale(float(state[PREDICTED]), is_log=self._scales.is_log[column])
            alarms += [Alarm(name, *entry, value, expected) for entry in fired]
        for chart, _, _ in fired:
            if chart is Chart.LEVEL:
                state[LEVEL_ROWS] = [0.0] * len(LEVEL_SHIFTS)
            elif chart is Chart.SCALE:
                state[SCALE_ROWS] = [0.0] * len(SCALE_RATIOS)
        return alarms
