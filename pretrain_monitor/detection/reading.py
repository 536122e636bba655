"""What the charts say of the newest sample: for whoever explains an incident, not for the detector itself."""

from __future__ import annotations

from typing import NamedTuple

from .changepoint import FrozenBaseline
from .scales import from_scale


class Reading(NamedTuple):
    """One signal at the newest sample, next to what was expected and what would have been an alarm.

    Args:
        value: in the signal's own unit, as are ``expected`` and the band of 3 sd, ``lower`` to ``upper``.
        residual: distance from the expected value in sd, without what the sample before says of it (whitened).
        level: largest CUSUM of the level bank, a log-likelihood ratio; ``scale`` that of the scale bank. Zero after
            an alarm of theirs, which has their score.
        is_judged: the charts have begun: before, nothing of this can raise an alarm.
    """

    value: float
    expected: float
    lower: float
    upper: float
    residual: float
    outlier_threshold: float
    level: float
    level_threshold: float
    scale: float
    scale_threshold: float
    is_judged: bool


class BlockReading(NamedTuple):
    """A block of sixteen losses that has just become full, on the scale on which the loss is judged.

    Args:
        first_row: row of its first loss; rows count the samples from 0.
        level: largest CUSUM over blocks, a log-likelihood ratio.
    """

    first_row: int
    mean: float
    expected: float
    sd: float
    level: float
    level_threshold: float


class FrozenTrend(NamedTuple):
    """A signal's trend as it was before the open incident: what its segments, onset and end are measured against."""

    baseline: FrozenBaseline
    is_log: bool

    def at(self, row: float, sd: float = 0.0) -> float:
        """The value at ``row`` that lies ``sd`` above the trend, in the signal's own unit."""
        return from_scale(self.baseline.expected(row) + sd * self.baseline.scale, is_log=self.is_log)
