"""How much an incident matters: information, or an alert."""

from __future__ import annotations

from collections.abc import Mapping

from ..telemetry import Kind, Severity
from .alarm import Chart
from .history import COARSE_STEPS
from .open_incident import OpenIncident

CORROBORATION_ROWS = 8  # loss and gradient-norm outliers this close together are one alert
STATISTICAL = (Chart.LEVEL, Chart.OUTLIER, Chart.EARLY, Chart.DRIFT, Chart.JOINT)


def severity_of(incident: OpenIncident, outlier_rows: Mapping[str, int]) -> Severity:
    """Severity that the alarms so far call for; an incident never falls below what it once was.

    Args:
        outlier_rows: signal -> row of its newest outlier alarm.
    """
    if incident.is_nonfinite:
        return Severity.CRITICAL
    if incident.has("loss", Chart.LEVEL, Chart.EARLY, Chart.DRIFT, Chart.JOINT) or incident.has(
        "learning_rate", Chart.SCHEDULE
    ):
        return Severity.WARNING
    if incident.facts.get("steps_per_sample", 1) >= COARSE_STEPS and incident.has("loss", Chart.OUTLIER):
        return Severity.WARNING
    loss_row, norm_row = (outlier_rows.get(name, -(10**9)) for name in ("loss", "grad_norm"))
    is_joint = incident.has("loss", Chart.OUTLIER) and incident.has("grad_norm", Chart.OUTLIER)
    if is_joint and abs(loss_row - norm_row) <= CORROBORATION_ROWS:
        return Severity.WARNING
    return Severity.INFO


def provisional_kind(incident: OpenIncident) -> Kind:
    """Kind by the charts that fired, before the values say how it goes on."""
    if any(Chart.NONFINITE in charts for charts in incident.charts.values()):
        return Kind.NONFINITE
    if incident.has("loss", Chart.PLATEAU):
        return Kind.PLATEAU
    if incident.has("loss", Chart.DRIFT) and not incident.has("loss", Chart.LEVEL, Chart.EARLY):
        return Kind.DRIFT
    if incident.has("loss", *STATISTICAL, Chart.SCALE):
        return Kind.SPIKE if incident.has("loss", Chart.LEVEL, Chart.EARLY, Chart.JOINT) else Kind.BAD_BATCH
    if incident.has("learning_rate", Chart.SCHEDULE):
        return Kind.LR_ANOMALY
    if incident.has("grad_norm", *STATISTICAL):
        return Kind.GRAD_SPIKE
    if any(charts.keys() & set(STATISTICAL) for charts in incident.charts.values()):
        return Kind.SPIKE
    return Kind.NOISE_CHANGE
