"""The one object every adapter talks to: samples in; run log first, then sinks."""

from __future__ import annotations

import logging
import math
import operator
import os
import threading
import time as clock
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .actions.decide import PAUSE, PAUSE_NAME, RESUME, Decider
from .actions.orders import DONE, ActionRecord, Order, left_out
from .announcing import MAX_WAITING, Announcement, Announcements
from .built_in_sinks import BuiltInSinks
from .config import MonitorConfig, WhatChanges, load_config, with_actions
from .detection.detector import InstabilityDetector
from .records import read_actions, read_probes
from .resume import restore
from .run_settings import write_settings
from .rundir import FILE_NAME, RunDirectoryError
from .runlog import RunLog
from .sinks.base import Sink, checked_sinks
from .sinks.dispatch import RunEnd, SinkThread
from .telemetry import UPDATE_LEFT_OUT, Event, Incident, Sample

logger = logging.getLogger(__name__)

_BANDS = {name: (f"{name}/expected", f"{name}/lower", f"{name}/upper") for name in ("loss", "grad_norm")}


# Forks between this process and the one that imported this. Asking for the process id would be a system call per step.
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_count_fork)


class Monitor:
    """Watches one run: detects, logs and tells. Nothing it does can end or delay the training.

    >>> from pretrain_monitor import ListSink
    >>> sink = ListSink()
    >>> monitor = Monitor(config={"console": {"enabled": False}}, sinks=[sink])
    >>> monitor.start()
    >>> _ = monitor.observe(Sample(1, {"loss": 3.2}))
    >>> monitor.finish()
    >>> len(sink.samples)
    1

    Args:
        run_dir: where the run log and the event files go; None keeps nothing on disk.
        config: a ``MonitorConfig``, a mapping with its keys, or a YAML file.
        sinks: further receivers of samples and events, each served by a thread of its own.
        actions: what is done about incidents, besides those in ``config``; only an adapter can carry them out.

    Raises:
        ConfigError: a setting that does not exist or cannot be used, a sink that is none, an address for messages that
            is wrong or whose secret is not in the environment.
    """

    def __init__(
        self,
        run_dir: str | Path | None = None,
        config: MonitorConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        sinks: Sequence[Sink] = (),
        actions: Sequence[Any] = (),
    ) -> None:
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.config = with_actions(load_config(config), actions)
        self.detector = InstabilityDetector(self.config)
        self._user_sinks = checked_sinks(sinks)
        if self.config.notify.urls and _is_first_rank():
            _check_addresses(self.config)
        self._log: RunLog | None = None
        self._sinks: list[SinkThread] = []
        self._is_running = False
        self._detection_failed = False
        self.tokens_seen: int | None = 0  # as of the step at which watching began; None if nobody knows
        self.learning_rate: float | None = None  # of the newest step of which one was told
        self.max_grad_norm: float | None = None  # that gradients are clipped to; an adapter that knows it sets it
        self._resumed_from: int | None = None
        self._started_at = 0
        self._snapshot_step = 0
        self._announced = Announcements()
        self._said_early: deque[tuple[str, int | None, WhatChanges]] = deque(maxlen=MAX_WAITING)
        self._was_told: set[str] = set()
        self._lock = threading.RLock()
        self._forks = _forks
        self.decider: Decider | None = None  # where there is anything to be done
        self._orders: list[Order] = []
        self.loggers: Sequence[Any] = ()  # of the trainer, where it has any with ``log_metrics``
        # Told of events in the thread of the training, before the next step; sinks are told later, in their own.
        self.listeners: list[Callable[[list[Event]], None]] = []

    @property
    def incidents(self) -> list[Incident]:
        """Every incident so far in its latest state, in the order of detection."""
        return self.detector.incidents

    @property
    def is_running(self) -> bool:
        return self._is_running

    def start(self, step: int = 0, *, summary_writer: Any = None) -> None:
        """Begin watching after ``step`` completed optimizer steps.

        A run directory that already holds steps is continued: the detector is brought to where it was at ``step``,
        and whatever the log holds past it is superseded. Never raises.

        Args:
            step: 0 for a fresh run, the restored global step for a resumed one.
            summary_writer: the trainer's own TensorBoard writer, if it has one: anything with
                ``add_summary(summary, global_step)``.
        """
        if self._is_running:
            self.finish("restarted")
        step = _completed_steps(step)
        self.detector = InstabilityDetector(self.config)
        self._detection_failed = False
        self.tokens_seen = None if step > 0 else 0
        self.learning_rate = None
        self._resumed_from = step if step > 0 else None
        self._started_at = self._snapshot_step = step
        self._announced = Announcements()
        self._was_told.clear()
        self._orders.clear()
        self.decider = self._new_decider()
        self._is_running = True
        self._forks = _forks
        if self.run_dir is not None:
            self._guarded("the run log failed", self._open_log, self.run_dir, step)
        if self.decider is not None and step > 0:
            self.decider.recall(self._all_actions(), step)
        while self._said_early:
            self._guarded("an announcement failed", self._announce, *self._said_early.popleft(), step)
        threads = (self._guarded("a sink failed", SinkThread, sink) for sink in self._open_sinks(step, summary_writer))
        self._sinks = [thread for thread in threads if thread is not None]

    def observe(self, sample: Sample) -> list[Event]:
        """Take in one sample: detect, write to the run log, hand on to the sinks. Never raises.

        Returns:
            What the sample opened, changed or closed.
        """
        if self._forks != _forks and self._is_running:
            return []  # a forked child: the run is its parent's
        with self._lock:
            return self._guarded("a sample could not be taken and is left out", self._observe, sample) or []

    def announce(
        self,
        text: str,
        *,
        step: int | None = None,
        what: WhatChanges = "data_stage",
        completed_steps: int | None = None,
    ) -> None:
        """Say that the run is changed on purpose: a shift that begins there is explained by it. Never raises.

        What is said before watching begins is kept until then. A resumed run takes back what was said later in it.

        >>> monitor = Monitor(config={"console": {"enabled": False}})
        >>> monitor.announce("stage 2: code", step=5000)

        Args:
            text: what changes, for the people who read the incidents.
            step: first step that is trained in the new way, known ahead or just past; None: the next one.
            what: data_stage, batch_size, sequence_length, learning_rate or other.
            completed_steps: optimizer steps completed by now; None: as many as the newest sample says.
        """
        if self._forks == _forks:
            with self._lock:
                self._guarded("an announcement failed", self._announce, text, step, what, completed_steps)

    def _announce(self, text: str, step: int | None, what: WhatChanges, completed_steps: int | None) -> None:
        is_early = not self._is_running
        if completed_steps is None:
            completed_steps = 0 if is_early else max(self.detector.last_step or 0, self._started_at)
        try:
            said = Announcement.of(text, step, what, completed_steps)
        except ValueError as error:
            logger.error("announce is left out: %s", error)
            return
        if is_early:
            self._said_early.append((text, step, what))
        elif said.is_past:
            # A program says what it always says when it starts, also when it resumes long after.
            if said.step > self._started_at:
                logger.warning("announce is left out: step %d is past for too long to explain anything", said.step)
        elif self._announced.add(said) and self._log is not None:
            self._guarded("the run log failed", self._log.write_announcement, said)

    def _observe(self, sample: Sample) -> list[Event]:
        sample = _plain(sample)
        if not self._is_running:
            self.start(max(sample.step - 1, 0))
        last = self.detector.last_step
        if last is not None and (sample.step < last or (sample.step == last and "loss" in sample.metrics)):
            self._tell_once(
                "order", "step %d came after step %d and is left out: steps may not go backwards", sample.step, last
            )
            return []
        if self._resumed_from is not None:
            meta = {**(sample.meta or {}), "resumed_from": self._resumed_from}
            sample = Sample(sample.step, sample.metrics, sample.tokens_seen, sample.time, meta)
            self._resumed_from = None
        self.learning_rate = sample.metrics.get("learning_rate", self.learning_rate)
        is_left_out = UPDATE_LEFT_OUT in sample.metrics and sample.metrics[UPDATE_LEFT_OUT] == 1.0
        if UPDATE_LEFT_OUT in sample.metrics:
            sample = _without_flag(sample, is_dry_run=self.config.dry_run)
        if self.decider is not None and UPDATE_LEFT_OUT in (sample.meta or {}):
            self.decider.left_out(sample.step)
        seen = self._announced.carried_by(sample)
        events = self._detect(seen)
        if self._log is not None:
            # What it carries has a record of its own.
            self._guarded("the run log failed", self._write, self._log, sample, events)
        if self._sinks:
            shown = self._shown(seen)
            for sink in self._sinks:
                sink.put(shown, events)
        if events:
            for listener in self.listeners:
                self._guarded("a listener failed", listener, events)
        if self.decider is not None:
            self._guarded("actions failed", self._decide, self.decider, events, sample)
        if is_left_out and self.decider is not None:
            self._guarded("actions failed", self._count_left_out, self.decider, sample)
        return events

    def _count_left_out(self, decider: Decider, sample: Sample) -> None:
        outcomes, orders = decider.count_left_out(sample.step)
        reason = f"the gradient norm is {sample.metrics.get('grad_norm', math.nan):.3g}"
        for outcome in outcomes:
            self.record_action(Order("skip_step", sample.step, reason, details={"step": sample.step}), outcome)
        self._orders += orders

    def _decide(self, decider: Decider, events: list[Event], sample: Sample) -> None:
        for order, outcome in [*decider.decide(events), *decider.reconsider(sample)]:
            if outcome is None:
                self._orders.append(order)
            else:
                self.record_action(order, outcome)

    def take_orders(self) -> list[Order]:
        """What is to be done and has not been taken yet."""
        if self.decider is not None:
            order = self._guarded("actions failed", self.decider.look, self.detector.last_step or 0)
            self._orders += [] if order is None else [order]
        if not self._orders:
            return []
        orders, self._orders = self._orders, []
        return orders

    def record_action(self, order: Order, outcome: str, *, details: Mapping[str, Any] | None = None) -> None:
        """Keep what became of an order, in the run log first, and tell it. Never raises.

        Args:
            outcome: ``done``, or why not.
            details: what the adapter found out, besides those of the order.
        """
        step = self.detector.last_step if self.detector.last_step is not None else self._started_at
        facts = {**order.details, **(details or {})}
        record = ActionRecord(step, clock.time(), order.do, outcome, order.reason, order.incident, facts)
        if self._log is not None:
            self._guarded("the run log failed", self._log.write_action, record.to_json())
        for sink in self._sinks:
            sink.put_action(record)

    def past_actions(self, step: int) -> list[ActionRecord]:
        """What was done about incidents by ``step``, superseded records left out. Never raises."""
        if self.run_dir is None or not (self.run_dir / FILE_NAME).is_file():
            return []
        return self._guarded("earlier actions cannot be read", _actions_until, self.run_dir / FILE_NAME, step) or []

    def record_plan(self, plan: Order) -> None:
        """Keep that this process has gone back, as the one before it had planned. Never raises."""
        self.record_action(plan, DONE)
        if self.decider is not None:
            self.decider.recall(self._all_actions(), int(plan.details["to_step"]))

    def _all_actions(self) -> list[ActionRecord]:
        """Also what was done in steps that have been given up, which counts for budgets all the same."""
        if self.run_dir is None or not (self.run_dir / FILE_NAME).is_file():
            return []
        return self._guarded("earlier actions cannot be read", _all_actions_in, self.run_dir / FILE_NAME) or []

    def skipped_steps(self, step: int) -> int:
        """Steps' worth of data that rewinds have left out of what a run had read by ``step``. Never raises."""
        if self.run_dir is None or not (self.run_dir / FILE_NAME).is_file():
            return 0
        found = self._guarded("earlier actions cannot be read", _skipped_until, self.run_dir / FILE_NAME, step)
        return found or 0

    def rewind(self, order: Order, step: int, *, summary_writer: Any = None) -> None:
        """The training went back to ``step``: so do detector, run log and TensorBoard. Never raises.

        Args:
            order: why, and from where.
            summary_writer: as for ``start``.
        """
        if self._forks == _forks and self._is_running:
            with self._lock:
                self._guarded("going back failed", self._rewind, order, step, summary_writer)

    def _rewind(self, order: Order, step: int, summary_writer: Any) -> None:
        self.detector = InstabilityDetector(self.config)
        self._announced = Announcements()
        self.tokens_seen = None
        self._orders = [order for order in self._orders if order.do in (PAUSE, RESUME)]
        self._started_at = self._snapshot_step = step
        if self._log is not None:
            self._continue(self._log.path, step)
            self._log.begin(step, **self._session_facts(), note="rewound")
        if self.decider is not None:
            self.decider.rewound(step)
        self._reopen_panels(step, summary_writer)
        self.record_action(order, DONE)

    def _reopen_panels(self, step: int, summary_writer: Any) -> None:
        """What is drawn past ``step`` is superseded as it is when a run is resumed."""
        for place, thread in enumerate(self._sinks):
            if thread.name == "TensorBoardSink":
                thread.close(self.config.sink_timeout_s)
                opening = BuiltInSinks(self.config, self.run_dir, step, summary_writer)
                panels = self._guarded("TensorBoard failed", opening.panels)
                self._sinks[place : place + 1] = [] if panels is None else [SinkThread(panels)]
                return

    def _new_decider(self) -> Decider | None:
        if not self.config.actions:
            return None
        pause_file = None if self.run_dir is None else self.run_dir / PAUSE_NAME
        return Decider(self.config.actions, is_dry_run=self.config.dry_run, pause_file=pause_file)

    def _write(self, log: RunLog, sample: Sample, events: list[Event]) -> None:
        log.write(sample, events)
        if log.was_deleted:
            # With the samples gone it takes a snapshot to resume.
            log.was_deleted = False
            write_settings(log.path.parent, self.config)
            self.snapshot()
        elif sample.step - self._snapshot_step >= self.config.snapshot_steps:
            self.snapshot()

    def record_probe(self, record: dict[str, Any]) -> None:
        """Keep what a probe measured document by document, so that a later session can go on comparing. Never raises.

        Args:
            record: JSON-ready, ``step`` first.
        """
        if self._log is not None:
            self._guarded("the run log failed", self._log.write_probe, record)

    def past_probes(self, step: int) -> list[dict[str, Any]]:
        """What was recorded by ``step`` in earlier sessions of this run. Never raises."""
        if self._log is None:
            return []
        return self._guarded("earlier probes cannot be read", _probes_until, self._log.path, step) or []

    def checkpointed(self) -> None:
        """Say that the trainer saved a checkpoint, so that resuming from it is quick. Never raises."""
        # Replaying a thousand samples takes a tenth of a second: nearer snapshots would only fill the log.
        step = self.detector.last_step
        if self._log is not None and step is not None and step - self._snapshot_step >= 1000:
            self._guarded("the run log failed", self.snapshot)

    def snapshot(self) -> None:
        """Write the detector's state into the run log."""
        step = self.detector.last_step
        if self._log is not None and step is not None and not self._detection_failed:
            self._log.write_snapshot(step, self.config.detection_key(), self.detector.state_dict())
            self._snapshot_step = step

    def finish(self, reason: str = "finished") -> None:
        """End watching: close what is open, flush everything, print the summary. Never raises; may be called twice."""
        if not self._is_running or self._forks != _forks:
            return
        self._is_running = False
        events: list[Event] = []
        if not self._detection_failed:
            events = self._guarded("detection failed", self.detector.finish) or []
        if self._log is not None:
            self._guarded("the run log failed", self._log.write_events, events)
            self._guarded("the run log failed", self._log.end, self.detector.last_step or 0, reason)
            self._guarded("the run log failed", self._log.close)
            self._log = None
        for sink in self._sinks:
            sink.put(None, events)
            sink.put_end(RunEnd(self.detector.last_step, reason))
        for sink in self._sinks:
            self._guarded("a sink failed", sink.close, self.config.sink_timeout_s)
        self._sinks = []

    def _open_log(self, run_dir: Path, step: int) -> None:
        try:
            log = RunLog(run_dir)
        except RunDirectoryError as error:
            logger.error("%s. Training goes on; incidents are told but nothing is written", error)
            return
        has_past = (run_dir / FILE_NAME).stat().st_size > 0
        if has_past and step > 0:
            self._continue(run_dir / FILE_NAME, step)
        log.begin(step if has_past else None, **self._session_facts())
        self._log = log
        write_settings(run_dir, self.config)

    def _session_facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"pid": os.getpid()}
        if self.max_grad_norm is not None:
            facts["max_grad_norm"] = self.max_grad_norm
        return facts

    def _continue(self, path: Path, step: int) -> None:
        try:
            last = restore(self.detector, path, step, self._announced)
        except Exception:
            self.detector = InstabilityDetector(self.config)
            self._announced = Announcements()
            logger.exception("%s: the past of this run cannot be read; detection starts afresh at step %d", path, step)
            return
        self.tokens_seen = last.tokens_seen if last is not None and last.step == step else None

    def _open_sinks(self, step: int, summary_writer: Any) -> list[Sink]:
        """The sinks of this session. What fails is told and left out; the others are there all the same."""
        # A directory that we may not write belongs to somebody else, event files and all.
        run_dir = self.run_dir if self._log is not None else None
        opening = BuiltInSinks(self.config, run_dir, step, summary_writer, self.loggers)
        built_in = (self._guarded(f"{name} failed", open_it) for name, open_it in opening.all().items())
        return [*self._user_sinks, *(sink for sink in built_in if sink is not None)]

    def _detect(self, sample: Sample) -> list[Event]:
        if self._detection_failed:
            return []
        try:
            return self.detector.update(sample)
        except Exception:
            self._detection_failed = True
            logger.exception("detection failed and is switched off; telemetry is still logged and training goes on")
            return []

    def _shown(self, sample: Sample) -> Sample:
        """The sample as sinks see it: with what was expected of loss and gradient norm beside what came."""
        if self._detection_failed:
            return sample
        metrics = dict(sample.metrics)
        for name, (expected, lower, upper) in _BANDS.items():
            if name in metrics and (band := self.detector.band(name)):
                metrics[expected], metrics[lower], metrics[upper] = band
        return Sample(sample.step, metrics, sample.tokens_seen, sample.time, sample.meta)

    def _guarded(self, problem: str, function: Any, *args: Any) -> Any:
        try:
            return function(*args)
        except Exception:
            if problem not in self._was_told:
                self._was_told.add(problem)
                logger.exception("%s; training goes on", problem)
            return None

    def _tell_once(self, key: str, message: str, *args: Any) -> None:
        if key not in self._was_told:
            self._was_told.add(key)
            logger.warning(message, *args)


def _without_flag(sample: Sample, *, is_dry_run: bool) -> Sample:
    metrics = dict(sample.metrics)
    meta = dict(sample.meta or {})
    if metrics.pop(UPDATE_LEFT_OUT) == 1.0 and not is_dry_run:
        meta[UPDATE_LEFT_OUT] = "on the device"
    return Sample(sample.step, metrics, sample.tokens_seen, sample.time, meta or None)


def _probes_until(path: Path, step: int) -> list[dict[str, Any]]:
    return list(read_probes(path, step))


def _actions_until(path: Path, step: int) -> list[ActionRecord]:
    return list(read_actions(path, step))


def _all_actions_in(path: Path) -> list[ActionRecord]:
    return list(read_actions(path, with_superseded=True))


def _skipped_until(path: Path, step: int) -> int:
    return left_out(read_actions(path, step))


def _is_first_rank() -> bool:
    # As launchers name it: this is before there is a process group, and the others send nothing.
    return os.environ.get("RANK", "0") == "0"


def _check_addresses(config: MonitorConfig) -> None:
    from .sinks.services import services

    services(config.notify.urls)


def _completed_steps(step: Any) -> int:
    """The step to begin after; 0, and a line for the user, where it is no number of steps."""
    try:
        steps = operator.index(step)
    except TypeError:
        steps = -1
    if steps < 0:
        logger.error("watching cannot begin after step %r and begins at 0: give the optimizer steps completed", step)
        return 0
    return steps


def _plain(sample: Sample) -> Sample:
    """The sample in Python's own numbers, with a time: numpy's would not go into the run log.

    Raises:
        TypeError, ValueError: a value that is no number.
    """
    metrics = {str(name): float(value) for name, value in sample.metrics.items()}
    time = clock.time() if sample.time is None else sample.time
    return Sample(int(sample.step), metrics, sample.tokens_seen, time, sample.meta)
