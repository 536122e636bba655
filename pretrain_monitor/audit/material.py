"""Everything that is known of a run when it is audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..config import MonitorConfig
from ..telemetry import Incident, Kind, Status
from ..viewing.content import RunContent
from ..viewing.series import Floats, Ints
from .model import RunFacts
from .offline import offline_alerts
from .reviewed import Reviewed

LARGEST = 1e100  # as the detector sees numbers: their squares are finite
# Of the training itself; the others are told by a schedule, by probes or by the monitor.
TRAINING = frozenset({Kind.NONFINITE, Kind.DIVERGENCE, Kind.SPIKE, Kind.LEVEL_SHIFT, Kind.DRIFT, Kind.PLATEAU,
                      Kind.NOISE_CHANGE, Kind.GRAD_SPIKE, Kind.BAD_BATCH})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signal:
    """The finite values of one signal, over rising steps."""

    name: str
    steps: Ints
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)

    def part(self, first: float, last: float) -> Signal:
        """From step ``first`` to step ``last``, both included."""
        start, stop = np.searchsorted(self.steps, [first, last + 1])
        return Signal(self.name, self.steps[start:stop], self.values[start:stop])

    def at(self, steps: Any) -> Floats:
        """The values at these steps, straight between two that are known, NaN beyond them."""
        if not len(self):
            return np.full(len(steps), np.nan)
        found: Floats = np.interp(steps, self.steps, self.values, left=np.nan, right=np.nan)
        return found


@dataclass(frozen=True)
class Material:
    """A run, read.

    Args:
        incidents: in their final state, in order of onset.
        held_out: results of probes as ``DomainResults.table`` gives them.
        max_grad_norm: norm to which gradients were clipped; None if nobody knows.
        is_held: whether a process still holds the run; None if nobody can tell.
        is_watched: whether the log is one of ours, so that what is missing in it was not there.
    """

    facts: RunFacts
    content: RunContent
    incidents: Sequence[Incident]
    config: MonitorConfig
    held_out: Mapping[str, Any]
    max_grad_norm: float | None = None
    is_held: bool | None = None
    is_watched: bool = False
    _signals: dict[str, Signal] = field(default_factory=dict)

    def signal(self, name: str) -> Signal:
        """Without what is not finite; empty if there is none of that name."""
        if name not in self._signals:
            series = self.content.series.get(name)
            if series is None:
                self._signals[name] = Signal(name, np.empty(0, dtype=np.int64), np.empty(0))
            else:
                keep = np.isfinite(series.values)
                values = np.clip(series.values[keep], -LARGEST, LARGEST)
                self._signals[name] = Signal(name, series.steps[keep], values)
        return self._signals[name]

    @property
    def loss(self) -> Signal:
        return self.signal("loss")

    @property
    def grad_norm(self) -> Signal:
        return self.signal("grad_norm")

    @property
    def rate(self) -> Signal:
        return self.signal("learning_rate")

    @property
    def first_step(self) -> int:
        return self.facts.first_step or 0

    @property
    def last_step(self) -> int:
        return self.facts.last_step or 0

    @property
    def interval(self) -> float:
        """Steps from one loss to the next."""
        return self.facts.interval or 1.0

    @cached_property
    def alerts(self) -> list[Incident]:
        """Of the training itself, as far as looking back confirms them, with what it finds to be more than was told."""
        standing = {one.incident_id for one in self.reviewed if one.is_alert}
        return [one for one in self.incidents if one.kind in TRAINING and one.id in standing]

    @cached_property
    def reviewed(self) -> list[Reviewed]:
        """What looking back makes of every incident, and what it finds alone."""
        series = {
            name: (one.steps, np.clip(one.values, -LARGEST, LARGEST))
            for name in ("loss", "grad_norm")
            if (one := self.content.series.get(name)) is not None
        }
        return offline_alerts(self.incidents, series)

    def end_of(self, incident: Incident) -> int:
        """Last step that an incident took: of one that did not come back as long as it was watched for."""
        if incident.end_step is not None:
            return incident.end_step
        is_lasting = incident.status is Status.PERSISTENT and incident.kind not in (Kind.NONFINITE, Kind.DIVERGENCE)
        if is_lasting:
            return min(self.last_step, incident.detected_step + self.config.confirm_steps)
        return self.last_step

    @property
    def resumed_at(self) -> list[int]:
        """Steps after which a later process went on."""
        return sorted({session.after_step for session in self.content.sessions if session.after_step > 0})
