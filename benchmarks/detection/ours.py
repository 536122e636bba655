"""Our own detector under test: incidents of the streaming detector as findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pretrain_monitor import InstabilityDetector, Sample

from .curves import Curve, Finding

KNOB = "false_alarms_per_10k_steps"


class OurDetector:
    """One sample per row, all signals of the curve; a finding per incident.

    The row of a finding is that at which the incident reached its present severity, live; kind and onset are those of
    its final state, which may have been revised since.

    Args:
        config: keys of ``MonitorConfig``; its defaults where absent.
    """

    mode: Literal["live", "offline"] = "live"

    # As false alarms asked for per 10,000 steps, negated: a larger limit is to be less sensitive.
    limits = (-30.0, -10.0, -3.0, -1.0, -0.3, -0.1, -0.03, -0.01)

    def __init__(self, config: Mapping[str, Any] | None = None, name: str = "pretrain-monitor") -> None:
        self.name = name
        self.config = dict(config or {})

    def with_limit(self, limit: float) -> OurDetector:
        return OurDetector({**self.config, KNOB: -limit}, self.name)

    def detect(self, curve: Curve) -> list[Finding]:
        detector = InstabilityDetector(self.config)
        told_at: dict[str, tuple[int, int]] = {}  # incident -> detected step, row at which it became that
        rows_of: dict[int, int] = {}  # step -> its first row; steps may repeat in a log
        for row, sample in enumerate(samples(curve)):
            rows_of.setdefault(sample.step, row)
            for event in detector.update(sample):
                detected = event.incident.detected_step
                if told_at.get(event.incident_id, (None,))[0] != detected:
                    told_at[event.incident_id] = detected, row
        detector.finish()
        findings = [
            Finding(told_at[i.id][1], rows_of[i.onset_step], i.kind.value, i.is_alert) for i in detector.incidents
        ]
        return sorted(findings, key=lambda finding: finding.row)


def samples(curve: Curve) -> Iterator[Sample]:
    names = ("loss", *curve.others)
    columns = (curve.loss, *curve.others.values())
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for step, values in zip(curve.steps.tolist(), rows, strict=True):
        yield Sample(step, dict(zip(names, values, strict=True)))
