"""Noise that grew: telling it from a rise, and where it began and ended."""

from __future__ import annotations

import numpy as np

from .residual import Floats
from .segmentation import segment_ends

_WIDE_SD = 1.8
_NOISE_ROWS = 40
_FAR_BELOW_SD, _SHARE_BELOW = 1.5, 0.12
# |z| of a standard normal z has mean .80 and sd .60.
_MEAN_ABS, _SD_ABS = 0.8, 0.6
_CLIP_SD = 4.0
_MIN_SEGMENT = 5
_PENALTY = 25.0
_GREW = 1.5  # times the noise before
_LEVEL_ROWS = 33
_CUSUM_DRIFT = 0.25


def is_only_noise(y: Floats) -> bool:
    """Whether a level alarm over residuals ``y`` is explained by noise that grew: wide, and to both sides.

    A CUSUM of clipped residuals drifts up and down when their spread doubles, and sooner or later crosses any limit. A
    rise has hardly a value far below the trend, however it swings above it.
    """
    recent = y[-_NOISE_ROWS:]
    if len(recent) < 4 or float(np.std(recent)) < _WIDE_SD:
        return False
    return float(np.mean(recent < -_FAR_BELOW_SD)) > _SHARE_BELOW


def noise_span(y: Floats, alarm: int) -> tuple[int, int]:
    """First and last index of the stretch of grown noise that an alarm at index ``alarm`` belongs to.

    The spread is segmented like a level, on the distances from the local level without their sign; a stretch too short
    for a segment is the one over which a CUSUM of these distances grows (Page 1954).

    Args:
        y: distance from the frozen trend in sd.
    """
    spread = (np.clip(np.abs(_around_level(y)), 0.0, _CLIP_SD) - _MEAN_ABS) / _SD_ABS
    alarm = min(alarm, len(y) - 1)
    if len(y) >= 2 * _MIN_SEGMENT:
        stops = segment_ends(spread, penalty=_PENALTY, min_size=_MIN_SEGMENT)
        grown = [
            (start, stop - 1)
            for start, stop in zip([0, *stops[:-1]], stops, strict=True)
            if _is_wide(spread[start:stop]) and stop > alarm - _NOISE_ROWS
        ]
        if grown and grown[0][0] <= alarm:
            return grown[0][0], max(grown[-1][1], alarm)
    increments = spread - _CUSUM_DRIFT
    first = int(np.argmin(np.cumsum(increments[: alarm + 1])[:-1])) + 1 if alarm > 0 else 0
    return first, max(first + int(np.argmax(np.cumsum(increments[first:]))), alarm)


def has_grown(y: Floats) -> bool:
    """Whether residuals ``y`` are noisier than those before the incident, at whatever level they lie."""
    return _is_wide((np.clip(np.abs(y - np.median(y)), 0.0, _CLIP_SD) - _MEAN_ABS) / _SD_ABS)


def _is_wide(spread: Floats) -> bool:
    return float(np.mean(spread)) > (_GREW - 1) * _MEAN_ABS / _SD_ABS


def _around_level(y: Floats) -> Floats:
    """Distances from a running median: a drift or a step of the level is no noise."""
    reach = min(_LEVEL_ROWS, len(y)) // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(y, reach, mode="edge"), 2 * reach + 1)
    return np.asarray(y - np.median(windows, axis=1))
