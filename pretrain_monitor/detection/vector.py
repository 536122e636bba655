"""The charts of many signals at once, in arrays: the same step as in ``scalar.py``, where its formulas are explained.

What a numpy call costs hardly depends on whether it is for ten signals or a hundred. So there are as few as possible:
neighbouring rows share a call, results go into memory that is kept from step to step, and constants are arrays, since
to make one of a plain number takes as long as the arithmetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .charts import CHART_ROWS, COSTS, GAINS, LEVEL_CLIP, LEVEL_SHIFTS, SQUARE_CLIP
from .residual import (
    AUTO_DEN,
    AUTO_GAIN,
    AUTO_NUM,
    CLIP,
    CONSISTENCY,
    MAX_AUTO,
    RESIDUAL_ROWS,
    SEEN,
    SLOPE,
    SLOPE_RATIO,
    SLOPE_SETTLES,
    VARIANCE,
    VARIANCE_GAIN,
    WHITE,
    Floats,
)
from .states import CUSUM_ROWS, LEVEL_PEAK, SCALE_PEAK
from .thresholds import EXCURSION_ENDS, EXCURSION_LEVEL, OUTLIER_LEVEL

_SPLIT = len(LEVEL_SHIFTS)

_ZERO, _ONE, _MINUS_ONE = np.array(0.0), np.array(1.0), np.array(-1.0)
_LEAST, _MOST = np.array(-CLIP), np.array(CLIP)
_LEAST_SHIFT, _MOST_SHIFT, _MOST_SQUARE = np.array(-LEVEL_CLIP), np.array(LEVEL_CLIP), np.array(SQUARE_CLIP)
_CONSISTENCY, _AUTO_GAIN, _MAX_AUTO = np.array(CONSISTENCY), np.array(AUTO_GAIN), np.array(MAX_AUTO)
_OUTLIER, _EXCURSION, _ENDS = np.array(OUTLIER_LEVEL), np.array(EXCURSION_LEVEL), np.array(EXCURSION_ENDS)


class VectorCharts:
    """The charts over one array of states, which they change in place.

    Args:
        array: shape (STATE_ROWS, signals).
        floors: shape (2, signals): lowest level and lowest scale that can be an alarm.
        memory: time constant of the trend, in samples.
    """

    def __init__(self, array: Floats, floors: Floats, memory: int) -> None:
        signals = array.shape[1]
        self.array = array
        self.seen, self.white = array[SEEN], array[WHITE]
        self.x = np.zeros(signals)  # the newest values, each on the scale of its signal
        self._charts = np.zeros((2, signals))
        self.level, self.scale = self._charts  # level chart F, scale chart G
        self._rows = tuple(array[:RESIDUAL_ROWS])
        self._growing = array[SLOPE : VARIANCE + 1]
        self._autos = array[AUTO_NUM : AUTO_DEN + 1]
        self._cusums = array[CUSUM_ROWS]
        self._peaks = array[LEVEL_PEAK : SCALE_PEAK + 1]
        self._floors = floors
        self._memory = memory
        self._gains = tuple(np.zeros((3, signals)))  # of level, slope and variance
        self._weights, self._costs = (np.repeat(np.array([row]).T, signals, axis=1) for row in (GAINS, COSTS))
        self._scratch = tuple(np.zeros((3, signals)))
        self._errors, self._growth, self._pair = np.zeros((3, 2, signals))
        # Views are made once, too.
        self._error_rows, self._growth_rows, self._pair_rows = map(tuple, (self._errors, self._growth, self._pair))
        self._level_halves = self._cusums[: _SPLIT // 2], self._cusums[_SPLIT // 2 : _SPLIT]
        self._scale_rows = tuple(self._cusums[_SPLIT:])
        self._increments = np.zeros((CHART_ROWS, signals))
        self._is_inside = np.zeros(signals, dtype=bool)
        self._over, self._ended = np.zeros((2, 2, signals), dtype=bool)
        self._found = np.zeros(signals, dtype=bool)
        self._set_gains()

    def advance(self, *, is_mature: bool) -> None:
        """Take in ``x``. Where it is NaN the state becomes NaN, for the caller to put back.

        Args:
            is_mature: every signal had seen so much before that its gains have settled.
        """
        np.add(self.seen, _ONE, out=self.seen)
        if not is_mature:
            self._set_gains()
        self._advance_residual()
        self._advance_cusums()

    def _set_gains(self) -> None:
        level, slope, variance = self._gains
        np.divide(1, self.seen + 1, out=variance)
        early = 2 * variance
        np.maximum(1 / self._memory, early, out=level)
        np.maximum(VARIANCE_GAIN, variance, out=variance)
        early[self.seen > SLOPE_SETTLES] = SLOPE_RATIO
        np.multiply(level, np.maximum(SLOPE_RATIO, early), out=slope)

    def _advance_residual(self) -> None:
        seen, level, slope, variance, last, auto_num, auto_den, floor, predicted, sd, white = self._rows
        level_gain, slope_gain, variance_gain = self._gains
        z, clipped, term = self._scratch
        (lagged, square), (aging, spreading) = self._error_rows, self._growth_rows
        np.add(level, slope, out=predicted)
        np.sqrt(variance, out=sd)
        np.subtract(self.x, predicted, out=z)
        np.divide(z, sd, out=z)
        np.minimum(z, _MOST, out=clipped)
        np.maximum(clipped, _LEAST, out=clipped)
        np.equal(z, clipped, out=self._is_inside)

        step = white  # free until the end
        np.multiply(clipped, sd, out=step)
        np.multiply(step, level_gain, out=term)
        np.add(predicted, term, out=level)
        np.multiply(step, slope_gain, out=step)
        np.add(slope, step, out=slope, where=self._is_inside)

        np.multiply(clipped, last, out=lagged)
        np.multiply(clipped, clipped, out=square)
        # What slope and variance are multiplied by; together they are brought up by one and applied.
        np.divide(_MINUS_ONE, seen, out=aging)
        np.multiply(square, _CONSISTENCY, out=spreading)
        np.subtract(spreading, _ONE, out=spreading)
        np.multiply(spreading, variance_gain, out=spreading)
        np.add(self._growth, _ONE, out=self._growth)
        np.multiply(self._growing, self._growth, out=self._growing)
        np.maximum(variance, floor, out=variance)

        np.subtract(self._errors, self._autos, out=self._errors)
        np.multiply(self._errors, _AUTO_GAIN, out=self._errors)
        np.add(self._autos, self._errors, out=self._autos)
        phi = square  # free from here on
        np.divide(auto_num, auto_den, out=phi)
        np.maximum(phi, _ZERO, out=phi)
        np.minimum(phi, _MAX_AUTO, out=phi)
        np.multiply(phi, last, out=term)
        np.subtract(z, term, out=z)
        np.multiply(phi, phi, out=term)
        np.subtract(_ONE, term, out=term)
        np.sqrt(term, out=term)
        np.divide(z, term, out=white)
        np.copyto(last, clipped)

    def _advance_cusums(self) -> None:
        u, cusums, increments = self.white, self._cusums, self._increments
        shift, square = self._pair_rows
        np.minimum(u, _MOST_SHIFT, out=shift)
        np.maximum(shift, _LEAST_SHIFT, out=shift)
        np.multiply(u, u, out=square)
        np.minimum(square, _MOST_SQUARE, out=square)
        increments[:_SPLIT] = shift
        increments[_SPLIT:] = square
        np.multiply(increments, self._weights, out=increments)
        np.subtract(increments, self._costs, out=increments)
        np.add(cusums, increments, out=cusums)
        np.maximum(cusums, _ZERO, out=cusums)
        # In pairs, since to reduce along the other axis takes twice as long.
        np.maximum(*self._level_halves, out=self._pair)
        np.maximum(shift, square, out=self.level)
        first, second, third = self._scale_rows
        np.maximum(first, second, out=self.scale)
        np.maximum(self.scale, third, out=self.scale)

    def hold(self, waits: NDArray[np.bool_]) -> None:
        """Keep the charts of some signals at zero."""
        np.copyto(self._cusums, 0.0, where=waits)
        np.copyto(self._charts, 0.0, where=waits)

    def stand_out(self) -> NDArray[np.bool_]:
        """Which signals need a judgement, as ``stands_out_one`` says it of one; most do not."""
        charts, peaks, over, ended = self._charts, self._peaks, self._over, self._ended
        np.maximum(peaks, charts, out=peaks)
        np.greater(charts, self._floors, out=over)
        np.less(charts, _ENDS, out=ended)
        np.logical_and(ended, np.greater(peaks, _EXCURSION), out=ended)
        np.logical_or(over, ended, out=over)
        np.greater(self.white, _OUTLIER, out=self._found)
        np.logical_or(self._found, over[0], out=self._found)
        np.logical_or(self._found, over[1], out=self._found)
        return self._found
