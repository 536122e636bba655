"""When a chart that stands out is an alarm: thresholds, cool-down, and what quiet times teach of the run's own tail."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from .alarm import Chart
from .codec import decode, encode
from .residual import Floats
from .thresholds import EXCURSION_LEVEL, FORGET_AFTER, OUTLIER_LEVEL, Tails, rate_per_chart

COOL_DOWN = 150  # samples after an alarm, and before the charts start, from which no tail is learned


class Scores(NamedTuple):
    """The charts of one signal at one sample: whitened residual, level chart F, scale chart G."""

    outlier: float
    level: float
    scale: float


class Judge:
    """One entry a signal: its tails, and how long it still cools down after an alarm.

    Args:
        false_alarms_per_10k: alarms a healthy run may raise in 10,000 samples.
    """

    def __init__(self, false_alarms_per_10k: float) -> None:
        self._rate = false_alarms_per_10k
        self._q = rate_per_chart(false_alarms_per_10k, 1)
        self._tails: list[Tails] = []
        self._learned = np.zeros(0)
        self._cool = np.zeros(0)
        self._has_excursion = np.zeros(0, dtype=bool)

    def add(self) -> None:
        self._tails.append(Tails())
        self._learned = np.append(self._learned, 0.0)
        self._cool = np.append(self._cool, 0.0)
        self._has_excursion = np.append(self._has_excursion, False)

    def share_among(self, alerting: int) -> None:
        """Divide the budget by the number of signals whose alarms can become alerts."""
        self._q = rate_per_chart(self._rate, alerting)

    def forget(self, column: int) -> None:
        """The signal is judged on another scale from here on: what its tail looked like says nothing."""
        self._tails[column] = Tails()
        self._learned[column] = 0.0
        self._has_excursion[column] = False

    def pass_one(self, column: int) -> bool:
        """Count one sample of a signal; whether the tail may learn from it."""
        is_quiet = bool(self._cool[column] <= 0)
        if is_quiet:
            self._learned[column] += 1
        else:
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
        """Whether a sample needs a judgement: most do not."""
        if u > OUTLIER_LEVEL or level > EXCURSION_LEVEL or scale > EXCURSION_LEVEL:
            return True
        return bool(self._has_excursion[column])

    def notable(self, columns: Any, u: Floats, level: Floats, scale: Floats) -> Any:
        found = u > OUTLIER_LEVEL
        found |= level > EXCURSION_LEVEL
        found |= scale > EXCURSION_LEVEL
        found |= self._has_excursion[columns]
        return found

    def judge(
        self, column: int, scores: Scores, *, is_quiet: bool, may_alarm: bool
    ) -> list[tuple[Chart, float, float]]:
        """Charts over their thresholds at a notable sample, with score and threshold; then learn from it."""
        tails = self._tails[column]
        tails.samples = float(self._learned[column])
        fired = tails.exceeded(*scores, self._q) if may_alarm else []
        tails.learn(*scores, self._q, is_quiet=is_quiet)
        if fired:
            self._cool[column] = COOL_DOWN
            charts = {chart for chart, _, _ in fired}
            if Chart.LEVEL in charts:
                tails.level_peak = 0.0
            if Chart.SCALE in charts:
                tails.scale_peak = 0.0
        if tails.samples > FORGET_AFTER:
            tails.forget()
            self._learned[column] = tails.samples
        self._has_excursion[column] = bool(tails.level_peak or tails.scale_peak)
        return fired

    def state_dict(self) -> dict[str, Any]:
        return {
            "learned": encode(self._learned),
            "cool": encode(self._cool),
            "tails": [asdict(tails) for tails in self._tails],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._learned = decode(state["learned"])
        self._cool = decode(state["cool"])
        self._tails = [Tails(**tails) for tails in state["tails"]]
        self._has_excursion = np.array([bool(t.level_peak or t.scale_peak) for t in self._tails], dtype=bool)
