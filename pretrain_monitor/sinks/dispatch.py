"""Keeps sinks off the training thread: one thread and one bounded queue for each."""

from __future__ import annotations

import logging
import threading
import time as clock
from collections import deque
from typing import NamedTuple

from ..actions.orders import ActionRecord
from ..telemetry import Event, Sample
from .base import Sink

logger = logging.getLogger(__name__)

MAX_QUEUED = 10_000

# How long samples may wait. Waking the thread for each of them would have it compete with the training thread for the
# interpreter at every step.
_EVERY_S = 0.1
_TICK_S = 1.0


class RunEnd(NamedTuple):
    """
    Args:
        step: the last; None before the first.
    """

    step: int | None
    reason: str


_Item = Sample | Event | ActionRecord | RunEnd


class SinkThread:
    """Feeds one sink. A sink that raises is logged once and switched off; one that hangs loses samples, not time.

    Events are never dropped in favour of samples: when the queue is full the oldest sample goes.
    """

    def __init__(self, sink: Sink, *, max_queued: int = MAX_QUEUED) -> None:
        self.sink = sink
        self.name = type(sink).__name__
        self.is_broken = False
        self.dropped_samples = 0
        self._max_queued = max_queued
        self._on_sample = getattr(sink, "on_sample", None)
        self._on_event = getattr(sink, "on_event", None)
        self._on_action = getattr(sink, "on_action", None)
        self._on_end = getattr(sink, "on_end", None)
        self._on_tick = getattr(sink, "on_tick", None)
        self._on_handover = getattr(sink, "on_handover", None)
        self._next_tick = 0.0
        self._queue: deque[_Item] = deque()
        self._lock = threading.RLock()  # a signal handler that ends the run may come in between
        self._changed = threading.Condition(self._lock)
        self._is_closing = False
        # A daemon: a sink that hangs for ever must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=f"pretrain-monitor-{self.name}", daemon=True)
        self._thread.start()

    def put(self, sample: Sample | None, events: list[Event]) -> None:
        """Hand over a sample and its events; returns at once, whatever the sink does in its own thread."""
        if self._on_handover is not None and not self.is_broken:
            self._hand_over()
        if self.is_broken or (self._on_sample is None and not events):
            return
        with self._lock:
            if sample is not None and self._on_sample is not None:
                if len(self._queue) >= self._max_queued:
                    self._drop_oldest_sample()
                self._queue.append(sample)
            if self._on_event is not None and events:
                self._queue.extend(events)
                self._changed.notify()

    def put_action(self, record: ActionRecord) -> None:
        """Something was done about an incident."""
        if self._on_action is not None and not self.is_broken:
            with self._changed:
                self._queue.append(record)
                self._changed.notify()

    def put_end(self, end: RunEnd) -> None:
        """The run is over; nothing comes after this."""
        if self._on_end is not None and not self.is_broken:
            with self._changed:
                self._queue.append(end)
                self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Let the sink finish what is queued and close it, waiting at most ``timeout_s`` seconds."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            left = len(self._queue)
            logger.error(
                "sink %s did not finish within %g s and is left behind with %d items; the run log has them all",
                self.name,
                timeout_s,
                left,
            )
        elif self.dropped_samples:
            logger.warning(
                "sink %s was too slow: %d samples were not shown; the run log has them all",
                self.name,
                self.dropped_samples,
            )

    def _hand_over(self) -> None:
        try:
            self._on_handover()  # type: ignore[misc]
        except Exception:
            self.is_broken = True
            logger.exception("sink %s failed and is switched off; training goes on", self.name)

    def _drop_oldest_sample(self) -> None:
        for position, item in enumerate(self._queue):
            if isinstance(item, Sample):
                del self._queue[position]
                self.dropped_samples += 1
                return

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                for item in batch:
                    if isinstance(item, Sample):
                        self._on_sample(item)  # type: ignore[misc]
                    elif isinstance(item, ActionRecord):
                        self._on_action(item)  # type: ignore[misc]
                    elif isinstance(item, RunEnd):
                        self._on_end(item.step, item.reason)  # type: ignore[misc]
                    else:
                        self._on_event(item)  # type: ignore[misc]
                self._tick()
            if hasattr(self.sink, "close"):
                self.sink.close()
        except BaseException:  # a SystemExit would end the thread without a word
            self.is_broken = True
            self._queue.clear()
            logger.exception("sink %s failed and is switched off; training goes on", self.name)

    def _tick(self) -> None:
        if self._on_tick is not None and (now := clock.monotonic()) >= self._next_tick:
            self._next_tick = now + _TICK_S
            self._on_tick()

    def _next_batch(self) -> list[_Item] | None:
        """Empty when it is time for a tick; None when there will be no more."""
        with self._changed:
            while not self._queue:
                if self._is_closing:
                    return None
                self._changed.wait(_EVERY_S)
                if self._on_tick is not None and clock.monotonic() >= self._next_tick:
                    break
            batch = list(self._queue)
            self._queue.clear()
            return batch
