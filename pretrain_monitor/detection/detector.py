"""The streaming detector: samples in, events about incidents out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import MonitorConfig, load_config
from ..telemetry import UPDATE_LEFT_OUT, Change, Event, Incident, Sample
from .alarm import Alarm, Chart
from .bank import SignalBank
from .context import RunContext
from .early import EarlyLossRule
from .incidents import IncidentTracker
from .mix import PREFIX, SUFFIX, TrainingMix
from .plateau import PlateauRule
from .probe_failures import KEY as FAILURES
from .probe_failures import ProbeFailures
from .reading import BlockReading, FrozenTrend, Reading
from .retention import KEY as RETENTION
from .retention import RetentionRule
from .schedule import LearningRateRule
from .slow import SlowChart

# Logged and drawn, but no subject for a control chart: schedules, counters, and results with statistics of their own.
_NOT_CHARTED = frozenset(
    {"learning_rate", "loss_scale", "epoch", "batch_size", "batch_tokens", "sequence_length", "data_stage"}
)
_PROBED = ("heldout/", "task/", "tokenization/", "probe/")
_NOT_CHARTED_PREFIXES = ("learning_rate/", "domain/", *_PROBED)

# In the meta of what probes have found. Whatever else it holds, it is no step of training.
_OF_PROBES = frozenset({"probes", RETENTION, FAILURES})

# No training in 32 bits gives a larger number, and the squares of what is judged stay within float range.
_LARGEST = 1e100

_BACKOFF_WINDOW = 100  # steps; a loss scaler tries to grow every 2,000, so it backs off rarely
_BACKOFF_LIMIT = 25


# Of the state that a snapshot holds: what another version of the rules has kept cannot be carried on from.
STATE_VERSION = 4


class InstabilityDetector:
    """Tells instabilities from noise, one sample at a time, in constant memory.

    >>> detector = InstabilityDetector({"false_alarms_per_10k_steps": 1.0})
    >>> events = detector.update(Sample(1, {"loss": float("nan")}))
    >>> print(events[0].incident.message)
    loss became NaN at step 1; still going on

    Args:
        config: a ``MonitorConfig``, a mapping with its keys, or a YAML file.

    Raises:
        ConfigError: a setting that does not exist or cannot be used.
    """

    def __init__(self, config: MonitorConfig | Mapping[str, Any] | str | Path | None = None) -> None:
        settings = load_config(config)
        self.config = settings
        self.last_step: int | None = None
        self._bank = SignalBank(
            settings.false_alarms_per_10k_steps, settings.warmup_steps, settings.memory_steps, settings.transform
        )
        self._early = EarlyLossRule(settings.warmup_steps)
        self._schedule = LearningRateRule()
        self._plateau = PlateauRule()
        self._slow = SlowChart(settings.false_alarms_per_10k_steps)
        self._was_log: bool | None = None
        self._context = RunContext(settings.schedule)
        self._tracker = IncidentTracker(
            self._bank, self._plateau, self._context, settings.merge_steps, settings.confirm_steps
        )
        self._mix = TrainingMix()
        self._retention = RetentionRule(self._context, self._mix)
        self._failures = ProbeFailures()
        self._resumed_from: Any = None  # said by a sample of probes, meant for the next step
        self._names: tuple[str, ...] = ()
        self._uncharted: list[str] = []
        self._shares: list[str] = []  # of domains in the tokens
        self._incidents: dict[str, Incident] = {}
        self._steps = 0
        self._alarms: list[Alarm] = []
        self._backoffs: deque[int] = deque(maxlen=_BACKOFF_LIMIT)

    @property
    def incidents(self) -> list[Incident]:
        """Every incident so far in its latest state, in the order of detection."""
        return list(self._incidents.values())

    def update(self, sample: Sample) -> list[Event]:
        """Take in one sample; return what it opened, changed or closed.

        Raises:
            ValueError: the sample's step is below that of an earlier one.
        """
        if self.last_step is not None and sample.step < self.last_step:
            raise ValueError(
                f"step {sample.step} came after step {self.last_step}; steps may not go backwards: "
                "use a new detector for a new run"
            )
        self.last_step = sample.step
        metrics = _bounded(sample.metrics)
        self._context.update(sample.step, metrics, sample.meta, sample.tokens_seen)
        told: list[Event] = []
        if sample.meta:
            told += self._retention.update(sample, on_hold=self._tracker.has_open_alert)
            told += self._failures.update(sample)
        meta = sample.meta
        if _is_of_probes(metrics, meta):
            self._resumed_from = (meta or {}).get("resumed_from", self._resumed_from)
            self._alarms = []
            return self._remember(told)
        if self._resumed_from is not None:
            meta = {"resumed_from": self._resumed_from, **(meta or {})}
            self._resumed_from = None
        self._steps += 1
        alarms = self._bank.update(sample.step, self._charted(metrics))
        if self._shares:
            self._mix.update(sample.step, {name: metrics[name] for name in self._shares})
        loss = metrics.get("loss")
        is_early = self._early.seen < self.config.warmup_steps
        self._tracker.early_reference = self._early.reference if is_early else None
        if loss is not None and math.isfinite(loss):
            if is_early and (alarm := self._early.update(loss)):
                alarms.append(alarm)
            if alarm := self._plateau.update(sample.step, loss, may_look=self._tracker.may_look_for_plateau):
                alarms.append(alarm)
            if alarm := self._judge_slowly(loss):
                alarms.append(alarm)
        rate = metrics.get("learning_rate")
        self._tracker.learning_rate = rate
        if rate is not None and (alarm := self._judge_rate(rate, meta)):
            alarms.append(alarm)
        if alarms and "loss_scale" in metrics:
            alarms = self._excuse_backoff(alarms, metrics)
        self._alarms = alarms
        if alarms or self._tracker.is_open:
            self._tracker.is_update_left_out = UPDATE_LEFT_OUT in (meta or {})
            events = self._tracker.observe(sample.step, alarms)
            if any(event.change is Change.CLOSED and event.incident.is_alert for event in events):
                self._slow.restart()
            told = [*events, *told]
        return self._remember(told)

    def finish(self) -> list[Event]:
        """The run is over: close what is still open as ``ended_run``."""
        step = self.last_step or 0
        return self._remember(
            [*self._tracker.finish(step), *self._retention.finish(step), *self._failures.finish(step)]
        )

    def band(self, signal: str) -> tuple[float, float, float] | None:
        """Expected value, lower and upper bound (3 sd) of the newest sample of a signal; None in warm-up."""
        return self._bank.band(signal)

    @property
    def alarms(self) -> list[Alarm]:
        """Charts that went over their thresholds at the newest sample, before anybody decided what that means."""
        return list(self._alarms)

    def reading(self, signal: str) -> Reading | None:
        """The charts of a signal at the newest sample; None where it has no finite value there, and in warm-up."""
        return self._bank.reading(signal)

    @property
    def block(self) -> BlockReading | None:
        """The block of sixteen losses that the newest one has completed, if it has."""
        return self._slow.newest

    @property
    def row(self) -> int:
        """Number of the newest row: blocks and frozen trends count in these, a run's first samples may be none."""
        return self._bank.history.rows - 1

    @property
    def early_reference(self) -> float | None:
        """Best level of the loss that the early rule held the newest one against; None once the charts have begun."""
        return self._tracker.early_reference

    def frozen_trends(self) -> tuple[str, dict[str, FrozenTrend]] | None:
        """Id of the open incident and, by signal, the trend before it; None where none is open."""
        if (found := self._tracker.open_baselines) is None:
            return None
        identity, baselines = found
        return identity, {name: FrozenTrend(b, self._bank.is_log(name)) for name, b in baselines.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything the future depends on, JSON-ready and exact; closed incidents are in the run log."""
        return {
            "version": STATE_VERSION,
            "last_step": self.last_step,
            "steps": self._steps,
            "backoffs": list(self._backoffs),
            "bank": self._bank.state_dict(),
            "early": self._early.state_dict(),
            "schedule": self._schedule.state_dict(),
            "plateau": self._plateau.state_dict(),
            "slow": self._slow.state_dict(),
            "context": self._context.state_dict(),
            "was_log": self._was_log,
            "tracker": self._tracker.state_dict(),
            "mix": self._mix.state_dict(),
            "retention": self._retention.state_dict(),
            "failures": self._failures.state_dict(),
            "resumed_from": self._resumed_from,
        }

    def load_state_dict(self, state: Mapping[str, Any], incidents: Iterable[Incident] = ()) -> None:
        """Continue from a ``state_dict`` of a detector with the same settings; only on a fresh detector."""
        self.last_step = state["last_step"]
        self._steps = state["steps"]
        self._backoffs.extend(state["backoffs"])
        self._bank.load_state_dict(state["bank"])
        self._early.load_state_dict(state["early"])
        self._schedule.load_state_dict(state["schedule"])
        self._plateau.load_state_dict(state["plateau"])
        self._slow.load_state_dict(state["slow"])
        self._context.load_state_dict(state["context"])
        self._was_log = state["was_log"]
        self._tracker.load_state_dict(state["tracker"])
        self._mix.load_state_dict(state["mix"])
        self._retention.load_state_dict(state["retention"])
        self._failures.load_state_dict(state["failures"])
        self._resumed_from = state["resumed_from"]
        self._incidents = {incident.id: incident for incident in incidents}

    def _charted(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        # Names hardly ever change from one sample to the next; asking each of a hundred would take longer than a chart.
        names = tuple(metrics)
        if names != self._names:
            self._names = names
            self._uncharted = [name for name in names if not self._is_charted(name)]
            self._shares = [name for name in self._uncharted if name.startswith(PREFIX) and name.endswith(SUFFIX)]
        if not self._uncharted:
            return metrics
        charted = dict(metrics)
        for name in self._uncharted:
            del charted[name]
        return charted

    def _is_charted(self, name: str) -> bool:
        if name in _NOT_CHARTED or name.startswith(_NOT_CHARTED_PREFIXES):
            return False
        return name not in self.config.ignore_signals

    def _judge_rate(self, rate: float, meta: Mapping[str, Any] | None) -> Alarm | None:
        if "learning_rate" in self.config.ignore_signals:
            return None
        if not math.isfinite(rate):
            return Alarm("learning_rate", Chart.NONFINITE, math.inf, math.inf, rate)
        return self._schedule.update(rate, meta)

    def _excuse_backoff(self, alarms: list[Alarm], metrics: Mapping[str, float]) -> list[Alarm]:
        """Under a loss scaler an overflowing gradient with a finite loss only skips the step and lowers the scale."""
        kept = [a for a in alarms if not (a.signal == "grad_norm" and a.chart is Chart.NONFINITE)]
        if len(kept) == len(alarms) or not math.isfinite(metrics.get("loss", math.nan)):
            return alarms
        self._backoffs.append(self._steps)
        if len(self._backoffs) == _BACKOFF_LIMIT and self._steps - self._backoffs[0] < _BACKOFF_WINDOW:
            overflow = Alarm(
                "grad_norm", Chart.NONFINITE, math.inf, math.inf, metrics["grad_norm"], detail={"what": "loss_scale"}
            )
            kept.append(overflow)
        return kept

    def _judge_slowly(self, loss: float) -> Alarm | None:
        """Hold the loss against the chart of blocks, once it is known on which scale it is judged."""
        judged = self._bank.judged("loss")
        if judged is None:
            return None
        x, noise, is_log = judged
        if self._was_log is not None and self._was_log != is_log:
            self._slow.leave_scale()
        self._was_log = is_log
        row = self._bank.history.rows - 1
        alarm = self._slow.update(row, x, loss, noise, on_hold=self._tracker.has_open_alert)
        if alarm is None or "loss" in self.config.ignore_signals:
            return None
        return replace(alarm, expected=self._bank.from_scale("loss", alarm.expected or 0.0))

    def _remember(self, events: list[Event]) -> list[Event]:
        for event in events:
            self._incidents[event.incident_id] = event.incident
        return events


def _is_of_probes(metrics: Mapping[str, float], meta: Mapping[str, Any] | None) -> bool:
    """Whether a sample holds what probes measured beside the training: nothing of it is a step."""
    if "loss" in metrics:
        return False
    if meta and not _OF_PROBES.isdisjoint(meta):
        return True
    return bool(metrics) and all(name.startswith(_PROBED) for name in metrics)


def _bounded(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """The metrics with finite numbers that only 64 bits can hold brought back to 1e100."""
    # Their root sum of squares is no smaller than the largest, and one call for a hundred of them.
    if math.hypot(*metrics.values()) <= _LARGEST:
        return metrics
    return {
        name: math.copysign(min(abs(value), _LARGEST), value) if math.isfinite(value) else value
        for name, value in metrics.items()
    }
