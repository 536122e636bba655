"""Our alerts of a finished run under test: those of the live detector, looked at again with what came after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pretrain_monitor import InstabilityDetector
from pretrain_monitor.audit.offline import offline_alerts

from .curves import Curve, Finding
from .ours import KNOB, OurDetector, samples


class OfflineDetector:
    """A finding per verdict, at the row at which it was told live, or that of its peak if only looking back finds it.

    Args:
        config: of the live detector, keys of ``MonitorConfig``; its defaults where absent.
    """

    mode: Literal["live", "offline"] = "offline"

    # What is asked of the live detector: the thresholds of the second look are fixed.
    limits = OurDetector.limits

    def __init__(self, config: Mapping[str, Any] | None = None, name: str = "pretrain-monitor offline") -> None:
        self.name = name
        self.config = dict(config or {})

    def with_limit(self, limit: float) -> OfflineDetector:
        return OfflineDetector({**self.config, KNOB: -limit}, self.name)

    def detect(self, curve: Curve) -> list[Finding]:
        detector = InstabilityDetector(self.config)
        rows_of: dict[int, int] = {}  # step -> its first row; steps may repeat in a log
        for row, sample in enumerate(samples(curve)):
            rows_of.setdefault(sample.step, row)
            detector.update(sample)
        detector.finish()
        series = {name: (curve.steps, values) for name, values in {"loss": curve.loss, **curve.others}.items()}
        verdicts = offline_alerts(detector.incidents, series)
        findings = [Finding(v.row, rows_of[v.onset_step], v.kind.value, v.is_alert) for v in verdicts]
        return sorted(findings, key=lambda finding: finding.row)
