"""What rounds of probes found, on its way into the run log, the charts and the comparison with rounds before."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..monitor import Monitor
from ..telemetry import Sample
from .attempt import Attempt
from .base import Scores
from .retention import RetentionTracker
from .rounds import Round

logger = logging.getLogger(__name__)

# What the metrics of probes begin with. Those of users' own get another beginning.
_GROUPS = ("heldout/", "task/", "tokenization/", "probe/")


class Findings:
    """On rank 0: takes in rounds, and those that earlier sessions of the run have left."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._tracker: RetentionTracker | None = RetentionTracker()

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
            metrics.update(_metrics(attempt.probe, result))
            each[attempt.probe] = {"seconds": round(attempt.seconds, 3), "notes": list(getattr(result, "notes", ()))}
            if own := getattr(result, "scores", {}):
                scores.update(own)
                found = Round(step, attempt.probe, reason, attempt.seconds, own, learning_rate=rate)
                self._monitor.record_probe(found.to_json())
        meta: dict[str, Any] = {"probes": {"reason": reason, "each": each}}
        if failures:
            meta["probe_failures"] = failures
        if changes := self._changes(step, scores, rate):
            meta["retention"] = changes
        self._monitor.observe(Sample(step, metrics, tokens_seen, None, meta))

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
