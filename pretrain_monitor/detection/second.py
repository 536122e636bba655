"""A second event while the first is still being told, from where the first has left the loss."""

from __future__ import annotations

from dataclasses import replace

from ..telemetry import Kind
from .aftershock import LOOKS_BACK, REFERENCE_ROWS, Rise, Settled, second_rise, settled
from .bank import SignalBank
from .open_incident import OpenIncident
from .rise import is_one_rise
from .trend import residuals_since

_LEAST_SD, _LEAST_SD_ASIDE = 0.5, 3.0


def rest_before(bank: SignalBank, incident: OpenIncident, row: int) -> Settled | None:
    """Where the loss had come to rest before ``row``; None if it had not."""
    baseline = incident.baselines.get("loss")
    if baseline is None:
        return None
    _, y = residuals_since(bank, "loss", baseline, incident.opened_row + 1, row - 1)
    before = settled(y)
    return before if before is not None and (before.is_back or before.is_flat) else None


def risen_again(bank: SignalBank, incident: OpenIncident, row: int) -> tuple[int, Rise] | None:
    """The row from which on the loss has just risen again from where it had come to rest, and by how much."""
    baseline = incident.baselines.get("loss")
    if baseline is None or incident.kind is Kind.PLATEAU:
        return None
    # Most samples are no rise at all: no need to look back. Beside mere information only a clear one counts.
    judged = bank.judged("loss")
    least = _LEAST_SD if incident.severity.is_alert else _LEAST_SD_ASIDE
    if judged is None or baseline.residual(row, judged[0]) < least:
        return None
    # The rise by which the loss joined an incident of the gradient norm is its first and no second one.
    began = max(incident.opened_row, incident.alarm_rows.get("loss", 0))
    since = max(began + 1, row + 1 - 2 * LOOKS_BACK)
    rows, y = residuals_since(bank, "loss", baseline, since, row)
    if not len(rows) or rows[-1] != row or (rise := second_rise(y, bank.autocorrelation("loss"))) is None:
        return None
    # What has been climbing since the incident began, as a divergence does, is one incident and not two.
    _, whole = residuals_since(bank, "loss", baseline, incident.onset_row - REFERENCE_ROWS, row)
    return None if is_one_rise(whole, rise.rows) else (int(rows[-rise.rows]), rise)


def go_on_from(first: OpenIncident, second: OpenIncident, rest: Settled, first_row: int) -> None:
    """Hold a second event against the trend before the first, at the level this left behind, and its noise.

    What the charts have learned since the first event began is no noise.
    """
    baseline = first.baselines["loss"]
    center = baseline.center + rest.level * baseline.scale
    second.baselines["loss"] = replace(baseline, center=center, first_row=first_row)
    second.noises, second.was_log = dict(first.noises), dict(first.was_log)


def keep_apart(second: OpenIncident, name: str, first_row: int) -> None:
    """Let a second event of a signal begin no sooner than where the first one ended."""
    first_row = min(first_row, second.opened_row)
    if name in second.baselines:
        second.baselines[name] = second.baselines[name].not_before(first_row)
    second.onset_row = max(second.onset_row, first_row)
