"""The currency of this benchmark: curves with known events, and what a detector says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Verdict(StrEnum):
    """What a detector owes to an event."""

    MUST = "must"  # has to be found; a hit or a miss
    OPTIONAL = "optional"  # neither reward nor penalty
    HARMLESS = "harmless"  # forgiven in the lenient count, a false alarm in the strict one


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """Something that happens in a curve, from row ``first`` to row ``last``, both inclusive.

    Args:
        kind: a kind of ``pretrain_monitor.telemetry.Kind``, spelled as its value.
        group: what it is counted under in tables by class, for example ``small_spike`` or the cause in the zoo.
        size: amplitude in robust standard deviations of the local noise; NaN if unknown.
    """

    first: int
    last: int
    kind: str
    verdict: Verdict = Verdict.MUST
    group: str = ""
    size: float = float("nan")


@dataclass(frozen=True, slots=True)
class Curve:
    """One run as a detector sees it, row by row.

    Args:
        source: repository, generator or cause; the bootstrap draws whole sources, since curves of one are not
            independent.
        steps: optimizer step of each row, shape (rows,).
        loss: nats, shape (rows,); may hold NaN or Inf where the run had them.
        others: further signals by name (``grad_norm``, ``learning_rate`` ...), each of shape (rows,).
    """

    name: str
    source: str
    steps: NDArray[np.int64]
    loss: Floats
    others: dict[str, Floats] = field(default_factory=dict)
    events: tuple[TrueEvent, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class Finding:
    """One alert: the row at which it was raised, and what it says, where the detector says it.

    Args:
        onset: row at which the detector puts the beginning.
        kind: its name for what happened, as a value of ``Kind``.
        is_alert: False for what a detector only notes; such findings count in no score but "noticed at all".
    """

    row: int
    onset: int | None = None
    kind: str | None = None
    is_alert: bool = True


class Baseline(Protocol):
    """A detector under test. ``detect`` starts afresh for every curve."""

    name: str
    mode: Literal["live", "offline"]  # offline: may look at the whole curve before it answers

    def detect(self, curve: Curve) -> list[Finding]:
        """Alerts in the order of their rows."""
        ...


class Adjustable(Baseline, Protocol):
    """A baseline with one limit that trades recall for false alarms; larger is less sensitive."""

    limits: tuple[float, ...]  # from most to least sensitive, the default among them

    def with_limit(self, limit: float) -> Baseline: ...
