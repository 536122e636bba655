"""Domains that a run is forgetting, as samples of probes tell: one incident for all that are lost together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..telemetry import Change, Event, Incident, Kind, Sample, Severity, Status
from .context import RunContext
from .messages import advise, describe
from .mix import TrainingMix

KEY = "retention"  # in the meta of a sample: where each domain of a round stands

# Of a level that falls with the 20th root of the compute (Kaplan et al. 2020), what seven times the compute buys.
CRITICAL = 0.10

_NAMED_SHARES = 3

_WORDS = ("domain", "metric")
_STEPS = ("step", "best_step", "first_step", "good_step", "documents")
_NUMBERS = ("value", "best", "first", "relative")
_MAYBE = ("limit", "wobble", "lower", "upper", "p_adjusted")
_CLAIMS = ("is_loss", "is_first")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one domain stands in one round, as far as it matters here; the fields are those that a sample carries."""

    domain: str
    metric: str
    step: int
    value: float
    best: float
    best_step: int
    first: float
    first_step: int
    good_step: int
    documents: int
    relative: float
    limit: float | None
    wobble: float | None
    lower: float | None
    upper: float | None
    p_adjusted: float | None
    is_loss: bool
    is_first: bool

    @classmethod
    def of(cls, entry: Any) -> Standing | None:
        """None for a value that is not finite, which says nothing of a loss, and for what has another form."""
        try:
            found = {name: entry[name] for name in (*_WORDS, *_STEPS, *_NUMBERS, *_MAYBE, *_CLAIMS)}
            found.update({name: _number(found[name]) for name in (*_NUMBERS, *_MAYBE)})
        except (KeyError, TypeError, ValueError):
            return None
        is_whole = (
            all(isinstance(found[name], str) for name in _WORDS)
            and all(type(found[name]) is int for name in _STEPS)
            and all(isinstance(found[name], bool) for name in _CLAIMS)
            and None not in (found[name] for name in _NUMBERS)
        )
        return cls(**found) if is_whole else None


@dataclass(slots=True)
class _Lost:
    """A domain of the open incident: as it was when it was worst, and where it is now."""

    worst: Standing
    newest: Standing
    onset_step: int
    is_over: bool = False
    is_followed: bool = True  # its documents are still the same

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> _Lost:
        return cls(**{**record, "worst": Standing(**record["worst"]), "newest": Standing(**record["newest"])})


@dataclass(slots=True)
class _Open:
    """The incident under way."""

    id: str
    opened_step: int
    detected_step: int
    severity: Severity
    domains: dict[str, _Lost]
    measured: int  # domains of the round in which most were
    changes: list[dict[str, Any]]
    mix: list[dict[str, Any]]

    @property
    def onset_step(self) -> int:
        return min(lost.onset_step for lost in self.domains.values())

    def by_size(self) -> list[_Lost]:
        return sorted(self.domains.values(), key=lambda lost: (-lost.worst.relative, lost.worst.domain))


class RetentionRule:
    """Opens, updates and closes ``retention_loss`` incidents; knows nothing but samples.

    Whether a domain is lost was decided where its documents were scored. Here losses become one thing to be told:
    the first one opens an incident, others join it, and it is over when all of them are back.

    Args:
        context: changes of the run, to be named where they came just before.
        mix: what it trains on, to be named where it has changed since.
    """

    def __init__(self, context: RunContext, mix: TrainingMix) -> None:
        self._context = context
        self._mix = mix
        self._open: _Open | None = None
        self._last_id = ""

    def update(self, sample: Sample, *, on_hold: bool = False) -> list[Event]:
        """Events of one sample; none for one that carries no round.

        Args:
            on_hold: an alert about the training itself is open. What is lost while the loss is up is the same trouble
                and told already; whether it stays lost is told by the first round after it.
        """
        entries = sample.meta.get(KEY) if sample.meta else None
        if not isinstance(entries, list | tuple):
            return []
        standings = [found for entry in entries if (found := Standing.of(entry)) is not None]
        lost = [standing for standing in standings if standing.is_loss]
        if self._open is None:
            if not lost or on_hold:
                return []
            self._open = self._begin(sample.step, lost, len(standings))
            return [self._event(sample.step, self._open, Change.OPENED)]
        return self._go_on(sample.step, self._open, standings)

    def finish(self, step: int) -> list[Event]:
        """The run is over."""
        return [] if self._open is None else [self._close(step, self._open, Status.ENDED_RUN)]

    def _begin(self, step: int, lost: list[Standing], measured: int) -> _Open:
        identity = f"{Kind.RETENTION_LOSS}-{step}"
        if identity == self._last_id:
            identity += "-2"
        self._last_id = identity
        domains = {standing.domain: _lost(standing) for standing in lost}
        found = _Open(identity, step, step, _severity(domains), domains, measured, [], [])
        found.changes, found.mix = self._changes(found, step), self._moved(found, step)
        return found

    def _go_on(self, step: int, found: _Open, standings: list[Standing]) -> list[Event]:
        before, known_before = _outline(found), len(found.domains)
        found.measured = max(found.measured, len(standings))
        for standing in standings:
            known = found.domains.get(standing.domain)
            if known is None:
                if standing.is_loss:
                    found.domains[standing.domain] = _lost(standing)
                continue
            known.is_over = not standing.is_loss
            known.is_followed &= not standing.is_first
            if known.is_followed:
                known.newest = standing
                if standing.relative > known.worst.relative:
                    known.worst = standing
        severity = max(found.severity, _severity(found.domains), key=lambda s: s.rank)
        if severity > found.severity:
            found.severity, found.detected_step = severity, step
        if len(found.domains) > known_before:
            found.changes = self._changes(found, step)
        # A change of the mix shows better with each report, but one long after the loss is another matter.
        found.mix = self._moved(found, min(step, 2 * found.opened_step - found.onset_step))
        if all(lost.is_over for lost in found.domains.values()):
            is_back = all(lost.is_followed for lost in found.domains.values())
            return [self._close(step, found, Status.RECOVERED if is_back else Status.PERSISTENT)]
        return [self._event(step, found, Change.UPDATED)] if _outline(found) != before else []

    def _changes(self, found: _Open, step: int) -> list[dict[str, Any]]:
        """What was changed of the run between the last good round and now, or as long before that."""
        first = found.onset_step
        near = self._context.near(first, step, slack=step - first + 1)
        return [
            {"step": c.step, "what": c.what, "text": c.text, "is_declared": c.is_declared}
            for c in near
            if c.step <= step
        ]

    def _moved(self, found: _Open, step: int) -> list[dict[str, Any]]:
        return self._mix.changes(since=found.onset_step - 1, until=step)[:_NAMED_SHARES]

    def _close(self, step: int, found: _Open, status: Status) -> Event:
        self._open = None
        return self._event(step, found, Change.CLOSED, status)

    def _event(self, step: int, found: _Open, change: Change, status: Status = Status.OPEN) -> Event:
        return Event(step, found.id, change, _told(step, found, status))

    def state_dict(self) -> dict[str, Any]:
        found = self._open
        return {
            "last_id": self._last_id,
            "open": None
            if found is None
            else {
                "id": found.id,
                "opened_step": found.opened_step,
                "detected_step": found.detected_step,
                "severity": found.severity.value,
                "domains": {name: lost.to_json() for name, lost in found.domains.items()},
                "measured": found.measured,
                "changes": [dict(change) for change in found.changes],
                "mix": [dict(change) for change in found.mix],
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last_id = state["last_id"]
        if (record := state["open"]) is not None:
            domains = {name: _Lost.from_json(lost) for name, lost in record["domains"].items()}
            self._open = _Open(**{**record, "severity": Severity(record["severity"]), "domains": domains})


def _told(step: int, found: _Open, status: Status) -> Incident:
    order = found.by_size()
    worst, onset = order[0].worst, found.onset_step
    end_step = step if status is Status.RECOVERED else None
    evidence: dict[str, Any] = {
        "charts": {},
        "opened_step": found.opened_step,
        "duration_steps": step - onset,
        "domains": {lost.worst.domain: _numbers(lost) for lost in order},
        "domains_measured": found.measured,
    }
    if end_step is not None:
        evidence["steps_to_recovery"] = end_step - onset
    if found.changes or found.mix:
        evidence["changes"] = found.changes + found.mix
    incident = Incident(
        id=found.id,
        kind=Kind.RETENTION_LOSS,
        severity=found.severity,
        status=status,
        signals=tuple(lost.worst.metric for lost in order),
        onset_step=onset,
        detected_step=found.detected_step,
        peak_step=worst.step,
        end_step=end_step,
        expected=worst.best,
        peak=worst.value,
        score=worst.relative / worst.wobble if worst.wobble else None,
        relative_increase=worst.relative,
        excess_loss=None,
        evidence=evidence,
    )
    return replace(incident, message=describe(incident), advice=advise(incident.kind))


def _numbers(lost: _Lost) -> dict[str, Any]:
    worst, newest = lost.worst, lost.newest
    learned = worst.first - worst.best
    status = "lost" if not lost.is_over else "back" if lost.is_followed else "other documents"
    return {
        "status": status,
        "metric": worst.metric,
        "best": worst.best,
        "best_step": worst.best_step,
        "good_step": lost.onset_step - 1,
        "worst": worst.value,
        "worst_step": worst.step,
        "relative": round(worst.relative, 6),
        "lower": worst.lower,
        "upper": worst.upper,
        "p_adjusted": worst.p_adjusted,
        "limit": None if worst.limit is None else round(worst.limit, 6),
        "documents": worst.documents,
        "newest": newest.value,
        "newest_step": newest.step,
        # Of what it had learned since the first round.
        "share_lost": round((worst.value - worst.best) / learned, 3) if learned > 0 else None,
        "first_step": worst.first_step,
    }


def _lost(standing: Standing) -> _Lost:
    return _Lost(standing, standing, onset_step=min(standing.good_step + 1, standing.step))


def _outline(found: _Open) -> Any:
    """What is news when it changes: how bad it is, what is worst, which domains are lost and which are back."""
    is_over = {name: lost.is_over for name, lost in found.domains.items()}
    return found.severity, found.by_size()[0].worst.domain, is_over


def _severity(domains: Mapping[str, _Lost]) -> Severity:
    is_large = any(lost.worst.relative >= CRITICAL for lost in domains.values())
    return Severity.CRITICAL if is_large else Severity.WARNING


def _number(value: Any) -> float | None:
    """A finite number; None for what is not known and for what is not finite."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
