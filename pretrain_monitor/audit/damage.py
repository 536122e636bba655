"""Is a run after an incident where it would have been without it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..telemetry import Incident, Kind
from .fits import blocks, slope, trimmed
from .material import Material, Signal

_FEWEST = 40  # rows on either side
_MOST = 4000
_DRAWN_ON = 0.25
_SMALL = 0.01  # of the loss
_CLEAR = 4.0  # standard errors: a run has several incidents, and a trend goes on only about as it did
OF_LEVEL = frozenset({Kind.SPIKE, Kind.DIVERGENCE, Kind.LEVEL_SHIFT, Kind.DRIFT, Kind.NONFINITE})


@dataclass(frozen=True, slots=True)
class Damage:
    """Level after an incident against the trend before it.

    Args:
        nats: level after less what the trend before predicts there.
        expected: what is predicted, in nats.
        error: standard error of ``nats``: of both levels and of the trend that is drawn on.
        first_step: of the stretch in which the level after was measured, as ``last_step``.
    """

    incident: Incident
    nats: float
    expected: float
    error: float
    first_step: int
    last_step: int

    @property
    def is_back(self) -> bool:
        """Whether what may be left is small for sure: a level that nobody can place has not come back."""
        return not self.is_clear and self.nats + 2 * self.error < _SMALL * self.expected

    @property
    def share(self) -> float:
        return self.nats / self.expected

    @property
    def is_clear(self) -> bool:
        return self.nats > _CLEAR * self.error


def damages(material: Material) -> list[Damage]:
    """Of every alert with enough of the run on both sides of it."""
    loss = material.loss
    if not len(loss):
        return []
    alerts = [one for one in material.alerts if one.kind in OF_LEVEL and "loss" in one.signals]
    spans = [(one.onset_step, material.end_of(one)) for one in alerts]
    found = []
    for at, incident in enumerate(alerts):
        others = [span for number, span in enumerate(spans) if number != at]
        one = _damage(loss, incident, spans[at], others)
        if one is not None:
            found.append(one)
    return found


def _damage(loss: Signal, incident: Incident, span: tuple[int, int], others: list[tuple[int, int]]) -> Damage | None:
    first, last = span
    # Other incidents are neither trend nor level; what came before one more is not held against this one.
    free_from = max((end for _, end in others if end < first), default=0)
    free_to = min((start for start, _ in others if start > last), default=int(loss.steps[-1]) + 1)
    before = loss.part(free_from + 1, first - 1)
    after = loss.part(last + 1, free_to - 1)
    # As far behind it as it was long: the way back is no damage.
    settled = loss.part(last + 1 + (last - first), free_to - 1)
    after = settled if len(settled) >= _FEWEST else after
    before = Signal("loss", before.steps[-_MOST:], before.values[-_MOST:])
    # A trend is drawn on by a quarter of the run so far, or by as much as it takes to have a level.
    rows = max(int(np.searchsorted(after.steps, after.steps[0] + _DRAWN_ON * last)), _FEWEST) if len(after) else 0
    after = Signal("loss", after.steps[: min(rows, _MOST)], after.values[: min(rows, _MOST)])
    if len(before) < _FEWEST or len(after) < _FEWEST:
        return None
    past, level = blocks(before, 20), trimmed(after.values)
    # Straight over the log of the step. Where a run begins it falls ever less steeply: the flatter of the slopes of the
    # whole stretch and of its later half is what may be expected to go on.
    x = np.log(np.maximum(past.steps, 1.0))
    centre, spread = x.mean(), max(float(((x - x.mean()) ** 2).sum()), 1e-12)
    half = len(x) // 2
    trend = min(max(slope(x, past.values), slope(x[half:], past.values[half:])), 0.0)
    at = float(np.log(after.steps.mean()))
    level_before = float(past.values[half:].mean())
    expected = level_before + trend * (at - float(x[half:].mean()))
    error_of_mean = float(past.errors.mean())
    after_blocks = blocks(after, 20)
    error_after = float(after_blocks.errors.mean()) / np.sqrt(len(after_blocks))
    error_trend = error_of_mean * np.sqrt(1 / len(past) + (at - float(centre)) ** 2 / spread)
    error = float(np.hypot(error_after, error_trend))
    if expected <= 0:
        return None
    nats = level - expected
    return Damage(incident, nats, expected, error, int(after.steps[0]), int(after.steps[-1]))
