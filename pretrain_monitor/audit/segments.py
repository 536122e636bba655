"""The phases of a finished run: stretches in which the loss kept its distance to the power law that fits the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .two_sided import Floats, Rows

_MOST_BINS = 800  # a picture has no more columns, and the segmentation takes the square of it
_FEWEST_BINS = 24
_SHORTEST_BINS = 6  # of a phase: nobody sees a shorter one, and incidents are told elsewhere
_LEAST_SD = 0.002  # of the log loss: phases closer together than some 0.2 % are none
_PENALTY = 4.0  # times the log of the number of bins, per phase: twice that of BIC, since bins are not independent
_MOST_PHASES = 20
# Of a power law: floors as share of the lowest bin, and how far from its pole it starts as share of the run.
_FLOORS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97, 0.985, 0.995)
_STARTS = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
_ROUNDS, _BEYOND, _LEAST_WEIGHT = 8, 7.0, 1e-3  # of fitting; beyond 7 median distances, 4.7 sd, a bin has no say
_NEAR_ZERO = 1e-3  # nats; a loss below it has no logarithm worth fitting


@dataclass(frozen=True, slots=True)
class Segment:
    """One phase, from its first to its last step.

    Args:
        level: median loss, nats.
        slope: nats per 1,000 steps, negative while the loss falls; 0.0 for a single step.
        against_trend: median distance to the power law, as a share of it: 0.04 for 4 % above.
    """

    first_step: int
    last_step: int
    rows: int
    level: float
    slope: float
    against_trend: float


def segments_of(steps: Rows, loss: Floats) -> list[Segment]:
    """At most 20 phases, in order; one for a run of too few values, and none without any that is finite.

    Medians of bins are segmented, so that single batches and short spikes make no phase.

    Raises:
        ImportError: ruptures is not installed; the message says how to get it.
    """
    is_finite = np.isfinite(loss)
    at, values = np.asarray(steps)[is_finite], np.asarray(loss, dtype=np.float64)[is_finite]
    if not len(values):
        return []
    count = min(_MOST_BINS, len(values) // 2)
    if count < _FEWEST_BINS:
        return [_segment(at, values, np.zeros(len(values)))]
    edges = np.linspace(0, len(values), count + 1).astype(np.int64)
    bins = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    levels = np.array([np.median(values[first:end]) for first, end in bins])
    middles = np.array([np.median(at[first:end]) for first, end in bins])
    distance = _distance_to_power_law(middles - at[0] + 1.0, levels)
    # Where the trend falls by much from one bin to the next, the distance to it is known as badly.
    falls = np.gradient(np.log(levels) - distance) if levels.min() > _NEAR_ZERO else np.zeros(count)
    ends = _phase_ends(distance, falls)
    starts = [0, *ends[:-1]]
    return [
        _segment(at[edges[start] : edges[end]], values[edges[start] : edges[end]], distance[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]


def _phase_ends(distance: Floats, falls: Floats) -> list[int]:
    """Bins at which phases end, exclusive: KernelCPD of ruptures (Truong, Oudre and Vayatis 2020), linear kernel."""
    try:
        from ruptures import KernelCPD
    except ImportError as missing:
        raise ImportError("the phases of a run need ruptures: pip install 'pretrain-monitor[report]'") from missing
    changes = np.abs(np.diff(distance))
    noise = max(1.4826 * float(np.median(changes)) / 2**0.5, _LEAST_SD)
    algorithm = KernelCPD(kernel="linear", min_size=_SHORTEST_BINS).fit((distance / np.hypot(noise, falls))[:, None])
    penalty = _PENALTY * float(np.log(len(distance)))
    while len(ends := algorithm.predict(pen=penalty)) > _MOST_PHASES:
        penalty *= 1.5
    return [int(end) for end in ends]


def _distance_to_power_law(t: Floats, levels: Floats) -> Floats:
    """Log of each level over the best floor + a (t + start)^-b; levels near or below zero, over their median.

    Args:
        t: steps since the start, from 1 on.
    """
    lowest = float(levels.min())
    if lowest <= _NEAR_ZERO:
        middle = float(np.median(levels))
        spread = 1.4826 * float(np.median(np.abs(levels - middle)))
        return np.asarray((levels - middle) / max(spread, float(np.abs(levels).max()), _NEAR_ZERO))
    fits = [_fitted(t + start * t[-1], levels, share * lowest) for share in _FLOORS for start in _STARTS]
    return min(fits, key=lambda distance: float(np.median(np.abs(distance))))


def _fitted(t: Floats, levels: Floats, floor: float) -> Floats:
    """Distance to the power law of one floor and start, of which a phase off it bends nothing (Tukey's weights)."""
    design = np.stack((np.ones(len(t)), np.log(t)), axis=1)
    above = np.log(levels - floor)
    # Straight in the log of time, so that is what counts alike: a level that lasts bends no fit by its many rows.
    evenly = 1.0 / np.arange(1, len(t) + 1)
    weights = evenly
    distance = np.zeros(len(t))
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        line = np.linalg.lstsq(design * root[:, None], above * root, rcond=None)[0]
        distance = np.log(levels) - np.log(floor + np.exp(design @ line))
        size = np.abs(distance) / max(_BEYOND * float(np.median(np.abs(distance))), 1e-9)
        weights = evenly * np.maximum(1.0 - size**2, _LEAST_WEIGHT) ** 2
    return distance


def _segment(steps: Rows, values: Floats, distance: Floats) -> Segment:
    return Segment(
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        rows=len(values),
        level=float(np.median(values)),
        slope=_slope(steps, values),
        against_trend=float(np.expm1(np.median(distance))),
    )


def _slope(steps: Rows, values: Floats) -> float:
    """Nats per 1,000 steps, from the median of the last third over that of the first."""
    third = max(1, len(values) // 3)
    away = float(np.median(steps[-third:]) - np.median(steps[:third]))
    rise = float(np.median(values[-third:]) - np.median(values[:third]))
    return 1000.0 * rise / away if away > 0 else 0.0
