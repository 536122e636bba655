"""What is remembered of an incident while it is under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..telemetry import Kind, Severity
from .alarm import Chart
from .changepoint import FrozenBaseline

_VITAL = ("loss", "grad_norm", "learning_rate", "param_norm", "update_rms", "update_norm")


def is_vital(signal: str) -> bool:
    """Whether a NaN of a signal, or of its part for a group as in ``grad_norm/embedding``, means broken weights."""
    return signal.partition("/")[0] in _VITAL


@dataclass(slots=True)
class OpenIncident:
    """What is remembered of the incident under way; everything else is read from the history when needed."""

    id: str
    opened_row: int
    opened_step: int
    detected_step: int
    last_alarm_row: int
    last_alarm_step: int
    severity: Severity
    kind: Kind
    signals: list[str]  # in the order in which they joined
    alarm_rows: dict[str, int]  # signal -> row of its first alarm
    charts: dict[str, dict[str, float]]  # signal -> chart -> largest score
    baselines: dict[str, FrozenBaseline]
    noises: dict[str, list[float]] = field(default_factory=dict)  # signal -> what its charts knew of its noise before
    was_log: dict[str, bool] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    is_classified: bool = False
    onset_row: int = 0
    onset_step: int = 0
    # Sums over rows up to this one; kept because a dead run outlives the history window.
    counted_row: int = -1
    excess_loss: float = 0.0
    peaks: dict[str, tuple[float, int]] = field(default_factory=dict)  # signal -> value, step
    last_rise_row: dict[str, int] = field(default_factory=dict)  # signal -> row of its newest alarm but for scale
    end_row: int | None = None  # first row back at trend
    parts: list[list[float]] = field(default_factory=list)  # segments: first step, last step, level in sd

    @property
    def lead(self) -> str:
        """The signal the incident is told by: the loss if it took part."""
        return "loss" if "loss" in self.signals else self.signals[0]

    def has(self, signal: str, *charts: Chart) -> bool:
        return any(chart in self.charts.get(signal, ()) for chart in charts)

    @property
    def is_nonfinite(self) -> bool:
        """Whether what makes the run useless became NaN or infinite."""
        return any(Chart.NONFINITE in charts and is_vital(name) for name, charts in self.charts.items())

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        record["severity"], record["kind"] = self.severity.value, self.kind.value
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> OpenIncident:
        """What ``to_json`` gave, also after numbers that are not finite have been spelled as strings."""
        fields = dict(record)
        fields["severity"], fields["kind"] = Severity(record["severity"]), Kind(record["kind"])
        fields["baselines"] = {name: FrozenBaseline(**value) for name, value in record["baselines"].items()}
        fields["excess_loss"] = float(record["excess_loss"])
        fields["peaks"] = {name: (value[0], value[1]) for name, value in record["peaks"].items()}
        fields["charts"] = {
            name: {Chart(chart): float(score) for chart, score in charts.items()}
            for name, charts in record["charts"].items()
        }
        if "first_nonfinite" in record["facts"]:
            first = record["facts"]["first_nonfinite"]
            fields["facts"] = {**record["facts"], "first_nonfinite": {**first, "value": float(first["value"])}}
        return cls(**fields)
