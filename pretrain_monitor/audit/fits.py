"""What a noisy curve does, without its noise: blocks, noise, power law."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..viewing.series import Floats
from .material import Signal

_SD_OF_MAD = 1.4826
_EXPONENTS = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0])


@dataclass(frozen=True, slots=True)
class Blocks:
    """Means over stretches of a signal that hold about as many rows each, without their extremes.

    Args:
        steps: middle of each stretch.
        errors: standard error of each mean, from how the means of neighbours differ: noise of rows is correlated.
    """

    steps: Floats
    values: Floats
    errors: Floats

    def __len__(self) -> int:
        return len(self.steps)


def blocks(signal: Signal, count: int = 60) -> Blocks:
    """At most ``count`` stretches of five rows at least."""
    rows = len(signal)
    count = min(count, rows // 5)
    if count < 1:
        return Blocks(np.empty(0), np.empty(0), np.empty(0))
    edges = np.linspace(0, rows, count + 1).astype(np.int64)
    steps = np.array([signal.steps[a:b].mean() for a, b in pairwise(edges.tolist())])
    values = np.array([trimmed(signal.values[a:b]) for a, b in pairwise(edges.tolist())])
    if count < 4:
        own = noise(signal.values) / np.sqrt(np.diff(edges))
        return Blocks(steps, values, own)
    # Second differences do not see the slope; for independent noise their variance is six times that of a mean.
    rough = robust_sd(np.diff(values, 2)) / np.sqrt(6)
    return Blocks(steps, values, np.full(count, max(rough, 1e-12)))


def trimmed(values: Floats, share: float = 0.1) -> float:
    """Mean without the lowest and the highest tenth."""
    cut = int(len(values) * share)
    if not cut:
        return float(values.mean()) if len(values) else float("nan")
    middle = np.partition(values, (cut, len(values) - cut - 1))[cut : len(values) - cut]
    return float(middle.mean())


def robust_sd(values: Floats) -> float:
    if not len(values):
        return 0.0
    return float(_SD_OF_MAD * np.median(np.abs(values - np.median(values))))


def noise(values: Floats) -> float:
    """Robust standard deviation of what is left when neighbours are subtracted from each other."""
    return robust_sd(np.diff(values)) / np.sqrt(2) if len(values) > 2 else 0.0


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """loss = floor + scale * step ** -exponent (Kaplan et al. 2020; Hoffmann et al. 2022 add the floor)."""

    floor: float
    scale: float
    exponent: float

    def at(self, steps: Floats) -> Floats:
        found: Floats = self.floor + self.scale * np.maximum(steps, 1.0) ** -self.exponent
        return found


def fit_power_law(steps: Floats, values: Floats) -> PowerLaw | None:
    """Least squares over floor and scale for each of some exponents, every stretch of log step counting the same.

    None for fewer than six points, or a curve that does not fall.
    """
    if len(steps) < 6:
        return None
    steps = np.maximum(steps, 1.0)
    weights = np.sqrt(np.gradient(np.log(steps)))
    best: tuple[float, PowerLaw] | None = None
    for exponent in _EXPONENTS:
        basis = np.column_stack([np.ones(len(steps)), steps**-exponent])
        (floor, scale), *_ = np.linalg.lstsq(basis * weights[:, None], values * weights, rcond=None)
        if scale <= 0 or floor < 0:
            continue
        left = float((((basis @ np.array([floor, scale])) - values) ** 2 * weights**2).sum())
        if best is None or left < best[0]:
            best = left, PowerLaw(float(floor), float(scale), float(exponent))
    return None if best is None else best[1]


def slope(x: Floats, values: Floats) -> float:
    """Of the straight line of least squares; 0 where all x are the same."""
    centred = x - x.mean()
    spread = float((centred**2).sum())
    return float((centred * (values - values.mean())).sum()) / spread if spread > 0 else 0.0
