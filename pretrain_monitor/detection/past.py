"""What has been told by now, so that nothing is told twice and no incident is part of a trend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bank import SignalBank
from .changepoint import FrozenBaseline
from .open_incident import OpenIncident
from .trend import trend_before


class Past:
    """The last alert, and up to where each signal has been told of."""

    def __init__(self) -> None:
        self._last_alert: tuple[int, int] | None = None  # first and last row
        self._told_until: dict[str, int] = {}  # signal -> first row after the last incident that was told by it

    def add(self, incident: OpenIncident, newest_row: int, *, has_recovered: bool) -> None:
        """Take in an incident that is over, or that has come to stay."""
        end = incident.end_row if has_recovered else None
        if end is not None:
            self._told_until[incident.lead] = end
        if incident.severity.is_alert:
            self._last_alert = (incident.onset_row, (end or newest_row) - 1)

    def trend_before(
        self, bank: SignalBank, name: str, row: int, early_reference: float | None
    ) -> FrozenBaseline | None:
        """See ``trend.trend_before``; the last alert is no part of it, and nothing told before can belong to it."""
        past = self._last_alert if self._last_alert is not None and self._last_alert[1] < row else None
        baseline = trend_before(bank, name, row, early_reference, past)
        told_until = self._told_until.get(name, 0)
        return baseline.not_before(told_until) if baseline is not None and told_until <= row else baseline

    def state_dict(self) -> dict[str, Any]:
        return {"last_alert": self._last_alert, "told_until": dict(self._told_until)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        alert = state["last_alert"]
        self._last_alert = None if alert is None else (alert[0], alert[1])
        self._told_until = dict(state["told_until"])
