"""What rounds of probes found, on its way into the run log, the charts and the comparison with rounds before."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..monitor import Monitor
from ..printable import clean
from ..telemetry import Sample
from .attempt import Attempt
from .base import Scores
from .results import REFERENCE
from .retention import RetentionTracker
from .rounds import Round

logger = logging.getLogger(__name__)

_Told = TypeVar("_Told")

# What the metrics of probes begin with. Those of users' own get another beginning.
_GROUPS = ("heldout/", "task/", "tokenization/", "probe/")


class Findings:
    """On rank 0: takes in rounds, and those that earlier sessions of the run have left."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._tracker: RetentionTracker | None = RetentionTracker()
        self._owners: dict[tuple[str, str], str] = {}  # the probe that told something by a name first
        self._clashes: set[tuple[str, str]] = set()  # probes of which it was said
        self._has_told: set[str] = set()  # probes

    def recall(self, step: int) -> int | None:
        """Take back the rounds up to ``step``; the step of the last one."""
        if step == 0:
            # What begins once more has weights of its own, and is not held against those of then.
            return None
        rounds: dict[int, dict[str, Scores]] = {}
        rates: dict[int, float | None] = {}
        for record in self._monitor.past_probes(step):
            try:
                past = Round.from_json(record)
            except (KeyError, TypeError, ValueError) as error:
                logger.warning("a round of probes in the run log cannot be read and is left out: %r", error)
                continue
            rounds.setdefault(past.step, {}).update(past.scores)
            rates[past.step] = past.learning_rate
        for at, scores in rounds.items():
            self._changes(at, scores, rates[at])
        return max(rounds, default=None)

    def tell(self, step: int, reason: str, attempts: Sequence[Attempt], tokens_seen: int | None) -> None:
        """A round is a sample of its step, behind that of the training."""
        metrics: dict[str, float] = {}
        scores: dict[str, Scores] = {}
        each: dict[str, Any] = {}
        failures: list[dict[str, Any]] = []
        rate = self._monitor.learning_rate
        for attempt in attempts:
            if attempt.problem is not None:
                failures.append({"probe": attempt.probe, "problem": attempt.problem, "switched_off": True})
                logger.error(
                    "probe %s at step %s: %s; it is switched off, training goes on",
                    attempt.probe, f"{step:,}", attempt.problem,
                )  # fmt: skip
            if (result := attempt.result) is None:
                continue
            metrics.update(self._own("value", attempt.probe, _metrics(attempt.probe, result)))
            notes = list(getattr(result, "notes", ()))
            each[attempt.probe] = {"seconds": round(attempt.seconds, 3), "notes": notes}
            self._warn_of_reference(attempt.probe, notes)
            if own := self._own("documents", attempt.probe, getattr(result, "scores", {})):
                scores.update(own)
                found = Round(step, attempt.probe, reason, attempt.seconds, own, learning_rate=rate)
                self._monitor.record_probe(found.to_json())
        meta: dict[str, Any] = {"probes": {"reason": reason, "each": each}}
        if failures:
            meta["probe_failures"] = failures
        if changes := self._changes(step, scores, rate):
            meta["retention"] = changes
        self._monitor.observe(Sample(step, metrics, tokens_seen, None, meta))

    def _own(self, what: str, probe: str, found: Mapping[str, _Told]) -> dict[str, _Told]:
        """What no other probe keeps under the same name: by turns they would make one course of two."""
        owners = {name: self._owners.setdefault((what, name), probe) for name in found}
        for name, owner in owners.items():
            if owner != probe and (owner, probe) not in self._clashes:
                self._clashes.add((owner, probe))
                logger.warning(
                    "probes %s and %s both tell %s: what %s tells under the names of %s is left out; "
                    "have one of them give other names",
                    owner, probe, clean(name), probe, owner,
                )  # fmt: skip
        return {name: value for name, value in found.items() if owners[name] == probe}

    def _warn_of_reference(self, probe: str, notes: Sequence[str]) -> None:
        """Say after a probe's first round what no curve shows: that another model was measured in another way."""
        found = [note for note in notes if REFERENCE in note]
        if found and probe not in self._has_told:
            more = f"; {len(found) - 1} more of this kind in the run log" if len(found) > 1 else ""
            logger.warning("probe %s: %s%s", probe, clean(found[0]), more)
        self._has_told.add(probe)

    def _changes(self, step: int, scores: Mapping[str, Scores], learning_rate: float | None) -> list[dict[str, Any]]:
        if self._tracker is None:
            return []
        try:
            return [change.to_json() for change in self._tracker.update(step, scores, learning_rate)]
        except Exception:
            # What was measured is not lost with it.
            self._tracker = None
            logger.exception("probes are no longer compared with those before (step %s)", f"{step:,}")
            return []


def _metrics(probe: str, result: Mapping[str, float]) -> dict[str, float]:
    return {_metric(probe, str(name)): float(value) for name, value in result.items()}


def _metric(probe: str, name: str) -> str:
    """A name under which no chart takes the value for a signal of the training."""
    return name if name.startswith(_GROUPS) else f"probe/{probe}/{name.removeprefix(f'{probe}/')}"
