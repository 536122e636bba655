"""What travels through the package: samples in, events about incidents out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# An update that did not happen: in the meta of its sample, with the reason. Where a device decides, the sample brings
# it as a number, too late for the host to know a reason.
UPDATE_LEFT_OUT = "update_left_out"


class Severity(StrEnum):
    """How much an incident deserves a human. From ``warning`` on it is an alert.

    >>> Severity.INFO < Severity.WARNING < Severity.CRITICAL
    True
    """

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _SEVERITY_RANK[self.value]

    @property
    def is_alert(self) -> bool:
        return self is not Severity.INFO

    # A StrEnum would compare alphabetically, and "critical" < "info".
    def __lt__(self, other: str) -> bool:
        return self.rank < Severity(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Severity(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Severity(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Severity(other).rank


_SEVERITY_RANK = {"info": 0, "warning": 1, "critical": 2}


class Kind(StrEnum):
    """What happened. Revised while an incident is open, final when it is closed."""

    NONFINITE = "nonfinite"
    DIVERGENCE = "divergence"
    SPIKE = "spike"
    LEVEL_SHIFT = "level_shift"
    DRIFT = "drift"
    PLATEAU = "plateau"
    GRAD_SPIKE = "grad_spike"
    BAD_BATCH = "bad_batch"
    NOISE_CHANGE = "noise_change"
    LR_ANOMALY = "lr_anomaly"
    RETENTION_LOSS = "retention_loss"
    PROBE_FAILURE = "probe_failure"


class Status(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    RECOVERED = "recovered"
    PERSISTENT = "persistent"
    ENDED_RUN = "ended_run"


class Change(StrEnum):
    """Why an event was emitted."""

    OPENED = "opened"
    UPDATED = "updated"
    CLASSIFIED = "classified"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one optimizer step.

    ``step`` counts optimizer steps completed, so the loss of step k is the loss of the batch whose update was step k.

    Args:
        step: optimizer steps completed, this one included.
        metrics: finite or non-finite floats by signal name: ``loss`` in nats, ``grad_norm`` before clipping,
            ``learning_rate`` as used for this step, and any other.
        tokens_seen: cumulative training tokens, None where nobody knows.
        time: seconds since the epoch, None if unknown.
        meta: facts about the step that are no signal, such as ``{"resumed_from": 400}``.
    """

    step: int
    metrics: Mapping[str, float]
    tokens_seen: int | None = None
    time: float | None = None
    meta: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; unknown fields are left out, non-finite numbers are spelled as strings."""
        record: dict[str, Any] = {"step": self.step, "metrics": self.metrics}
        if self.tokens_seen is not None:
            record["tokens_seen"] = self.tokens_seen
        if self.time is not None:
            record["time"] = self.time
        if self.meta:
            record["meta"] = self.meta
        return spell_nonfinite(record) if not all(map(math.isfinite, self.metrics.values())) else record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Sample:
        # float() also reads "NaN", "Infinity" and "-Infinity", which is why they are spelled that way.
        metrics = {name: float(value) for name, value in record["metrics"].items()}
        return cls(record["step"], metrics, record.get("tokens_seen"), record.get("time"), record.get("meta"))


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that went wrong, told once, from onset to outcome.

    Args:
        id: stable over the life of the incident and over resume and replay.
        signals: signals that took part, the leading one first.
        onset_step: where the change is estimated to begin.
        detected_step: where it reached its present alert level: the step at which a human was, or would be, told.
        peak_step: step of the largest value of the leading signal.
        end_step: first step back to trend; None while open or when it never came back.
        expected: value of the leading signal that the trend before the onset predicts at the peak.
        peak: largest value of the leading signal, in its own unit; may be NaN or infinite.
        score: height of the peak over the expected value in robust standard deviations of the noise before the onset.
        relative_increase: peak / expected - 1.
        excess_loss: sum over steps of loss minus expected loss, in nats x steps.
        evidence: JSON-ready facts that the verdict rests on.
        message: what happened, in one sentence with numbers.
        advice: what to do about it.
    """

    id: str
    kind: Kind
    severity: Severity
    status: Status
    signals: tuple[str, ...]
    onset_step: int
    detected_step: int
    peak_step: int
    end_step: int | None
    expected: float | None
    peak: float | None
    score: float | None
    relative_increase: float | None
    excess_loss: float | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    advice: str = ""

    @property
    def is_alert(self) -> bool:
        return self.severity.is_alert

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict with exactly the field names above."""
        record = {name: getattr(self, name) for name in _INCIDENT_FIELDS}
        record.update(kind=self.kind.value, severity=self.severity.value, status=self.status.value)
        return {name: spell_nonfinite(value) for name, value in record.items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Incident:
        fields = {name: record[name] for name in _INCIDENT_FIELDS}
        fields.update(
            kind=Kind(record["kind"]),
            severity=Severity(record["severity"]),
            status=Status(record["status"]),
            signals=tuple(record["signals"]),
        )
        for name in ("expected", "peak", "score", "relative_increase", "excess_loss"):
            fields[name] = None if record[name] is None else float(record[name])
        return cls(**fields)


_INCIDENT_FIELDS = tuple(Incident.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling a human about one incident, with the incident as it stood then."""

    step: int
    incident_id: str
    change: Change
    incident: Incident

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "incident_id": self.incident_id,
            "change": self.change.value,
            "incident": self.incident.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Event:
        return cls(
            record["step"], record["incident_id"], Change(record["change"]), Incident.from_json(record["incident"])
        )


def spell_nonfinite(value: Any) -> Any:
    """Replace NaN and infinities by "NaN", "Infinity", "-Infinity", which JSON can hold and ``float()`` reads back.

    >>> spell_nonfinite({"loss": float("nan"), "steps": (1, 2)})
    {'loss': 'NaN', 'steps': [1, 2]}
    """
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: spell_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [spell_nonfinite(item) for item in value]
    return value


def in_order(incidents: Iterable[Incident]) -> list[Incident]:
    """By onset; of those that begin together the first told comes first."""
    return sorted(incidents, key=lambda incident: (incident.onset_step, incident.detected_step))
