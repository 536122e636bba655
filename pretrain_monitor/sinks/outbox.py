"""Messages on their way to one service, in order and once, through outages of any length."""

from __future__ import annotations

import logging
import random
import threading
import time as clock
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .messages import Message

logger = logging.getLogger(__name__)

MAX_WAITING = 100
_MAX_AGE_S = 24 * 3600.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 60.0


class Target(Protocol):
    """Where messages go."""

    label: str  # to be read by people: no secret is in it

    def send(self, message: Message) -> str | None:
        """None if it has arrived, else what is wrong in a few words. May take as long as it likes."""


class Outbox:
    """One thread that delivers, and tries again: later and later, up to once a minute.

    The service may have taken a message whose answer got lost; then it arrives twice. What waits is bounded: beyond
    ``max_waiting`` the oldest that is not urgent is left out, and the next that arrives says so.

    Args:
        delivered: told of each message that has arrived.
        waits_s: the first wait after a failure, and the longest.
    """

    def __init__(
        self,
        target: Target,
        *,
        delivered: Callable[[Message], None],
        max_waiting: int = MAX_WAITING,
        waits_s: tuple[float, float] = (_FIRST_WAIT_S, _LONGEST_WAIT_S),
        max_age_s: float = _MAX_AGE_S,
    ) -> None:
        self.target = target
        self._delivered = delivered
        self._max_waiting = max_waiting
        self._first_wait_s, self._longest_wait_s = waits_s
        self._max_age_s = max_age_s
        self._queue: deque[tuple[float, Message]] = deque()
        self._is_sending = False
        self._left_out = 0
        self._deadline: float | None = None  # once it is closing
        self._failing_since: float | None = None
        self._changed = threading.Condition(threading.RLock())
        # A daemon: a service that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=f"pretrain-monitor-{target.label}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Messages that have not arrived."""
        return len(self._queue) + self._is_sending

    def put(self, message: Message) -> None:
        """Returns at once."""
        with self._changed:
            if len(self._queue) >= self._max_waiting:
                self._make_room()
            self._queue.append((clock.monotonic(), message))
            self._changed.notify()

    def close(self, timeout_s: float) -> int:
        """Deliver what waits, in at most ``timeout_s`` seconds; how many messages are left behind."""
        with self._changed:
            self._deadline = clock.monotonic() + timeout_s
            self._changed.notify()
        self._thread.join(timeout_s)
        return self.waiting

    def _make_room(self) -> None:
        self._left_out += 1
        for place, (_, message) in enumerate(self._queue):
            if not message.is_urgent:
                del self._queue[place]
                return
        self._queue.popleft()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            self._deliver(*taken)

    def _take(self) -> tuple[float, Message] | None:
        with self._changed:
            while not self._queue and self._deadline is None:
                self._changed.wait()
            if self._is_sending or not self._queue:
                return None  # given up, or done
            self._is_sending = True
            return self._queue.popleft()

    def _deliver(self, since: float, message: Message) -> None:
        wait_s = self._first_wait_s
        while True:
            left_out = self._left_out
            problem = self._try(message.left_out(left_out) if left_out else message)
            with self._changed:
                if problem is None:
                    self._left_out -= left_out
                    self._is_sending = False
                    self._tell_recovery()
                    break
                self._tell_failure(problem)
                if clock.monotonic() - since > self._max_age_s:
                    self._left_out += 1
                    self._is_sending = False
                    return
                if not self._pause(wait_s):
                    return
            wait_s = min(2 * wait_s, self._longest_wait_s)
        try:
            self._delivered(message)
        except Exception:
            logger.exception("what was sent to %s cannot be noted; it may be sent again", self.target.label)

    def _try(self, message: Message) -> str | None:
        try:
            return self.target.send(message)
        except Exception as error:
            return type(error).__name__  # its text may hold the address, and with it a password

    def _pause(self, wait_s: float) -> bool:
        """Whether there is still time for another try."""
        # Not all jobs of a cluster at the same moment.
        until = clock.monotonic() + wait_s * random.uniform(0.8, 1.2)
        while True:
            now = clock.monotonic()
            if self._deadline is not None:
                if now >= self._deadline:
                    return False
                until = min(until, now + self._first_wait_s, self._deadline)
            if now >= until:
                return True
            was_closing = self._deadline is not None
            self._changed.wait(until - now)
            if was_closing:
                return clock.monotonic() < (self._deadline or 0.0)

    def _tell_failure(self, problem: str) -> None:
        if self._failing_since is None:
            self._failing_since = clock.monotonic()
            logger.warning(
                "messages to %s do not arrive (%s); they wait, and training goes on", self.target.label, problem
            )

    def _tell_recovery(self) -> None:
        if self._failing_since is not None:
            minutes = (clock.monotonic() - self._failing_since) / 60
            self._failing_since = None
            logger.warning("messages to %s arrive again after %.0f min", self.target.label, minutes)
