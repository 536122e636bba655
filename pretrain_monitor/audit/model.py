"""What an audit says: findings, the verdict that follows from them, and the curves that a report draws."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = "pretrain-monitor audit"
VERSION = 1


class Area(StrEnum):
    """What a finding is about, in the order in which reports show it."""

    EVIDENCE = "evidence"
    STABILITY = "stability"
    SCHEDULE = "schedule"
    GRADIENTS = "gradients"
    HELD_OUT = "held_out"
    KNOWLEDGE = "knowledge"
    TOKENIZATION = "tokenization"
    COVERAGE = "coverage"
    DATA = "data"


class Need(StrEnum):
    """What the criteria make of a check."""

    REQUIRED = "required"  # failing it: not ready; without evidence: no verdict
    ADVISED = "advised"  # failing it, or without evidence: ready with conditions at best
    SHOWN = "shown"  # told, and never counted


class Verdict(StrEnum):
    READY = "ready"
    CONDITIONS = "ready with conditions"
    NOT_READY = "not ready"
    NOT_ENOUGH = "not enough evidence"


class _Part(BaseModel):
    # JSON has no NaN: spelled as in run logs, where float() reads it back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Place(_Part):
    """Where to look.

    Args:
        signal: such as ``loss`` or ``heldout/code/bits_per_byte``.
        note: in a few words what is to be seen there.
    """

    signal: str
    first_step: int
    last_step: int
    note: str = ""


class Table(_Part):
    """Rows of cells as they are shown; those that speak against the run are marked."""

    titles: list[str]
    rows: list[list[str]]
    marked: list[int] = Field(default_factory=list)


class Finding(_Part):
    """One check.

    Args:
        check: such as ``stability/spike_score``; criteria name it so.
        title: the same for people.
        value: what was measured; None if there is not enough evidence, and ``missing`` says of what.
        unit: of value and limit, empty for a plain number; of "%" both are percent, 5.0 for a twentieth.
        bound: on which side of the limit it passes.
        limit: None if the criteria set none.
        passed: None if there is no value, or no limit.
        summary: one sentence with numbers.
        evidence: further sentences that it rests on.
        advice: what to do next; empty if it passed.
    """

    check: str
    area: Area
    title: str
    value: float | None
    unit: str = ""
    bound: Literal["at_most", "at_least"] = "at_most"
    limit: float | None = None
    need: Need = Need.SHOWN
    passed: bool | None = None
    summary: str = ""
    missing: str = ""
    evidence: list[str] = Field(default_factory=list)
    table: Table | None = None
    places: list[Place] = Field(default_factory=list)
    advice: str = ""


class RunFacts(_Part):
    """What was audited.

    Args:
        source: kind of log in words, such as "run log" or "TensorBoard event files".
        interval: optimizer steps from one sample of the loss to the next, the median.
        tokens_seen: at the end; None if nobody knows.
        began: of the first sample, seconds since the epoch, as is ``ended``; None if samples have no time.
        notes: what the reader found out about the log: restarts, smoothing, fillers, parts left out.
    """

    name: str
    path: str
    source: str
    samples: int
    first_step: int | None = None
    last_step: int | None = None
    interval: float | None = None
    tokens_seen: int | None = None
    sessions: int = 1
    began: float | None = None
    ended: float | None = None
    end_reason: str | None = None
    final_loss: float | None = None
    notes: list[str] = Field(default_factory=list)


class Curve(_Part):
    """A signal as it is drawn: the smallest and the largest value of each column, so that no spike is lost.

    Args:
        group: of the chart it belongs to: loss, grad_norm, learning_rate, held_out, knowledge, other.
        values: None where the value was NaN or infinite.
        lower: of a band around it, as is ``upper``; empty if there is none.
        dashed: a trend that was fitted, not measured values.
    """

    signal: str
    group: str
    unit: str = ""
    steps: list[int]
    values: list[float | None]
    lower: list[float | None] = Field(default_factory=list)
    upper: list[float | None] = Field(default_factory=list)
    dashed: bool = False
    chance: float | None = None


class Audit(_Part):
    """Everything that was found of one run, and the verdict; reports are made from nothing else.

    Args:
        criteria: name of the preset, or path of the file, that the limits come from.
        reasons: why the verdict is what it is, a sentence each, the gravest first.
        next_steps: what to do, in the order of urgency.
        incidents: in their final state, in order of onset, as ``Incident.to_json`` gives them.
        against: what the run was held against; None if nothing.
        method: how figures were computed, a paragraph each, for the appendix.
        made: date and time, for people.
    """

    format: str = FORMAT
    version: int = VERSION
    run: RunFacts
    against: RunFacts | None = None
    criteria: str
    verdict: Verdict
    reasons: list[str]
    next_steps: list[str] = Field(default_factory=list)
    findings: list[Finding]
    incidents: list[dict[str, Any]] = Field(default_factory=list)
    method: list[str] = Field(default_factory=list)
    versions: Mapping[str, str] = Field(default_factory=dict)
    made: str = ""
    curves: list[Curve] = Field(default_factory=list)

    @property
    def is_passed(self) -> bool:
        """Whether a gate lets the model through: ready, with or without conditions."""
        return self.verdict in (Verdict.READY, Verdict.CONDITIONS)

    def finding(self, check: str) -> Finding:
        """
        Raises:
            KeyError: no such check.
        """
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)
