"""A chart over its threshold: the raw finding, before anybody decides what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Chart(StrEnum):
    """Which rule raised an alarm."""

    LEVEL = "level"
    OUTLIER = "outlier"
    SCALE = "scale"
    EARLY = "early"
    NONFINITE = "nonfinite"
    SCHEDULE = "schedule"
    PLATEAU = "plateau"
    DRIFT = "drift"
    JOINT = "joint"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One firing of one chart on one signal.

    Args:
        score: value of the chart's statistic: sd for an outlier, log-likelihood for the CUSUM charts.
        threshold: what the score had to exceed.
        value: the signal's value at this sample.
        expected: what the trend predicted; None where there is no trend yet.
        detail: JSON-ready facts of the rule.
    """

    signal: str
    chart: Chart
    score: float
    threshold: float
    value: float
    expected: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
