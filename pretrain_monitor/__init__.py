"""Watch a language-model pre-training run: one alert per instability, at a false-alarm rate you choose.

Importing this package loads nothing heavy; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .audit.model import Audit
    from .audit.run import audit_run
    from .config import MonitorConfig
    from .detection.detector import InstabilityDetector
    from .monitor import Monitor
    from .readers import read_run
    from .replaying import replay
    from .sinks import ListSink
    from .telemetry import Event, Incident, Kind, Sample, Severity, Status

_HOME = {
    "Audit": "audit.model",
    "Event": "telemetry",
    "Incident": "telemetry",
    "InstabilityDetector": "detection.detector",
    "Kind": "telemetry",
    "ListSink": "sinks",
    "Monitor": "monitor",
    "MonitorConfig": "config",
    "Sample": "telemetry",
    "Severity": "telemetry",
    "Status": "telemetry",
    "audit_run": "audit.run",
    "read_run": "readers",
    "replay": "replaying",
}

__all__ = [
    "Audit",
    "Event",
    "Incident",
    "InstabilityDetector",
    "Kind",
    "ListSink",
    "Monitor",
    "MonitorConfig",
    "Sample",
    "Severity",
    "Status",
    "__version__",
    "audit_run",
    "read_run",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pretrain_monitor' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
