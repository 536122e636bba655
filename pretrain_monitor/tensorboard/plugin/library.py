"""All runs of a log directory, read in a thread of their own that makes way for whoever waits for an answer."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from .logdir import find_runs
from .watched import WatchedRun

logger = logging.getLogger(__name__)

_WANTED_S = 120.0  # a run is kept whole for so long after somebody has looked at it
_IDLE_AFTER_S = 30.0  # without a request nothing is read: the page may be closed, the host may be training
_EVERY_S = 0.25  # between two looks at the logs
_SEARCH_EVERY_S = 2.0
_GLANCE_EVERY_S = 1.0  # at a run that nobody looks at
_MOST_BYTES = 320 << 20  # of all runs together that are kept whole


class Library:
    """Knows the runs and keeps them read.

    Args:
        roots: directories by the prefix of their runs' names.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)
        self._runs: dict[str, WatchedRun] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asking = 0  # requests under way
        self._last_asked = 0.0
        self._searched_at = -_SEARCH_EVERY_S
        self._is_closed = False

    @property
    def runs(self) -> list[WatchedRun]:
        """By name; whatever was found so far."""
        return list(self._runs.values())

    def run(self, name: str) -> WatchedRun | None:
        """The run of that name, which is kept whole from now on; None if there is none."""
        run = self._runs.get(name)
        if run is not None:
            run.want(_WANTED_S)
        return run

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """While a request is answered nothing is read: both would share one interpreter."""
        with self._changed:
            self._asking += 1
            self._last_asked = time.monotonic()
            if self._thread is None and not self._is_closed:
                self._search()
                self._thread = threading.Thread(target=self._work, name="pretrain_monitor", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._asking -= 1
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _search(self) -> None:
        self._searched_at = time.monotonic()
        found = find_runs(self._roots)
        runs = {}
        for name, place in found.items():
            known = self._runs.get(name)
            is_same = known is not None and (known.kind, known.path) == (place.kind, place.path)
            runs[name] = known if is_same and known is not None else WatchedRun(name, place)
        self._runs = runs

    def _work(self) -> None:
        while not self._is_closed:
            try:
                has_more = self._round()
            except Exception:
                logger.exception("reading the runs failed; it is tried again")
                has_more = False
            with self._changed:
                if not has_more and not self._is_closed:
                    self._changed.wait(_EVERY_S)
                # Nobody has asked for a while: wait until somebody does.
                while not self._is_closed and time.monotonic() - self._last_asked > _IDLE_AFTER_S:
                    self._changed.wait(60.0)

    def _round(self) -> bool:
        """Advance every run by a piece, those that somebody looks at first; whether any has more to read."""
        if time.monotonic() - self._searched_at > _SEARCH_EVERY_S:
            self._search()
        runs = self.runs
        has_more = False
        for run in sorted(runs, key=lambda run: -run.wanted_until):
            if not run.is_wanted and run.is_summed_up and time.monotonic() - run.read_at < _GLANCE_EVERY_S:
                continue
            self._make_way()
            with run.lock:
                run.read_at = time.monotonic()
                has_more |= run.read_on()
        self._keep_small(runs)
        return has_more

    def _keep_small(self, runs: list[WatchedRun]) -> None:
        """Of several long runs that are looked at together each gets its share of the memory."""
        whole = [run for run in runs if run.nbytes]
        if sum(run.nbytes for run in whole) <= _MOST_BYTES:
            return
        for run in whole:
            with run.lock:
                run.content.keep_within(_MOST_BYTES // len(whole))

    def _make_way(self) -> None:
        with self._changed:
            # Not for ever: a page that asks without pause would see nothing new.
            until = time.monotonic() + 0.2
            while self._asking and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
