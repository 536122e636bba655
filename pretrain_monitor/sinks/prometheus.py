"""The state of a run as a file that Prometheus' node_exporter picks up."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import time as clock
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..actions.orders import ActionRecord
from ..config import ConfigError
from ..printable import shorten, shown_path
from ..telemetry import Event, Incident, Sample, Status

logger = logging.getLogger(__name__)

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_LABELS = {"name", "severity", "kind", "status"}
_NAMED = {
    "loss": "Training loss in nats.",
    "grad_norm": "Gradient norm before clipping.",
    "learning_rate": "Learning rate of the newest step.",
}
_MAX_SIGNALS = 200  # each is a time series for ever
_MAX_NAME = 200

_Labels = tuple[tuple[str, str], ...]


class PrometheusSink:
    """Keeps a textfile for node_exporter's textfile collector up to date; written whole or not at all.

    Args:
        path: ends in ``.prom``, in the directory given to node_exporter as ``--collector.textfile.directory``.
        every_s: seconds between two writings at least; the end of the run is always written.
        labels: added to every value, as ``{"run": "7b-3"}``. Two runs on one machine need different ones, and
            different files.

    Raises:
        ConfigError: a label that Prometheus would not take, a path that node_exporter would not read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        every_s: float = 15.0,
        labels: Mapping[str, str] | None = None,
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._path = Path(path)
        if self._path.suffix != ".prom":
            raise ConfigError(f"PrometheusSink: {shown_path(path)}: node_exporter reads only files that end in .prom")
        if not every_s >= 0:
            raise ConfigError(f"PrometheusSink: every_s={every_s!r}: give seconds, 0 or more")
        self._labels = _checked_labels(labels or {})
        self._every_s = every_s
        self._now = now
        self._written_at = -math.inf
        self._is_new = False
        self._has_failed = False
        self._is_running = True
        self._last: Sample | None = None
        self._named: dict[str, float] = {}
        self._signals: dict[str, float] = {}
        self._left_out: set[str] = set()
        self._tokens_seen: int | None = None
        self._incidents: dict[str, Incident] = {}

    def on_sample(self, sample: Sample) -> None:
        self._is_new = True
        self._last = sample
        if sample.tokens_seen is not None:
            self._tokens_seen = sample.tokens_seen
        for name, value in sample.metrics.items():
            if name in _NAMED:
                self._named[name] = value
            elif name in self._signals or len(self._signals) < _MAX_SIGNALS:
                self._signals[name] = value
            elif len(self._left_out) < 10 * _MAX_SIGNALS:
                self._left_out.add(name)

    def on_event(self, event: Event) -> None:
        self._is_new = True
        self._incidents[event.incident_id] = event.incident

    def on_action(self, record: ActionRecord) -> None:
        if record.do == "rewind" and record.is_done:
            self._is_new = True
            self._incidents = {key: one for key, one in self._incidents.items() if one.detected_step <= record.step}

    def on_end(self, step: int | None, reason: str) -> None:
        self._is_new = True
        self._is_running = False

    def on_tick(self) -> None:
        if self._is_new and self._now() - self._written_at >= self._every_s:
            self._write()

    def close(self) -> None:
        if self._is_new:
            self._write()

    def _write(self) -> None:
        self._written_at = self._now()  # one that cannot be written is not tried at every tick either
        # Not a name that node_exporter would read; and no tempfile, which only we could read.
        unfinished = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            with unfinished.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
                file.writelines(self._lines())
            unfinished.replace(self._path)
            self._is_new = False
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            if not self._has_failed:
                self._has_failed = True
                logger.warning(
                    "%s: cannot be written (%s); it is tried again, and training goes on",
                    shown_path(self._path),
                    error.strerror,
                )

    def _lines(self) -> Iterator[str]:
        for name, about in _NAMED.items():
            if name in self._named:
                yield from self._gauge(name, about, {(): self._named[name]})
        if self._last is not None:
            yield from self._gauge("step", "Optimizer steps completed.", {(): self._last.step})
            if self._last.time is not None:
                about = "When the newest step was completed, in seconds since the epoch."
                yield from self._gauge("last_sample_timestamp_seconds", about, {(): self._last.time})
        if self._tokens_seen is not None:
            yield from self._gauge("tokens_seen", "Training tokens so far.", {(): self._tokens_seen})
        others: dict[_Labels, float] = {(("name", name),): value for name, value in self._signals.items()}
        yield from self._gauge("signal", "Newest value of any other signal.", others)
        if self._left_out:
            about = f"Signals that are not shown because there are more than {_MAX_SIGNALS}."
            yield from self._gauge("signals_left_out", about, {(): len(self._left_out)})
        yield from self._gauge("incidents", "Incidents so far, by where they stand.", self._counts())
        still_open = sum(one.is_alert and one.status is Status.OPEN for one in self._incidents.values())
        yield from self._gauge("open_alerts", "Alerts that are not over.", {(): still_open})
        yield from self._gauge("is_running", "1 until the run ends.", {(): int(self._is_running)})

    def _counts(self) -> Mapping[_Labels, int]:
        return Counter(
            (("severity", one.severity.value), ("kind", one.kind.value), ("status", one.status.value))
            for one in self._incidents.values()
        )

    def _gauge(self, name: str, about: str, values: Mapping[_Labels, float]) -> Iterator[str]:
        # By what is written: of two lines with the same labels node_exporter takes neither, nor the rest of the file.
        lines = {_written({**self._labels, **dict(labels)}): _number(value) for labels, value in values.items()}
        if lines:
            yield f"# HELP pretrain_monitor_{name} {about}\n# TYPE pretrain_monitor_{name} gauge\n"
        for labels, value in lines.items():
            yield f"pretrain_monitor_{name}{labels} {value}\n"


def _checked_labels(labels: Mapping[str, str]) -> dict[str, str]:
    for name in labels:
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            raise ConfigError(f"PrometheusSink: label {shorten(name)!r}: give letters, digits and _, not __ first")
        if name in _OWN_LABELS:
            raise ConfigError(f"PrometheusSink: label {name!r} is one of its own: give another name")
    return {name: str(value) for name, value in labels.items()}


def _written(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    if len(value) > _MAX_NAME:
        value = shorten(value, _MAX_NAME)
    value = value.encode("utf-8", errors="replace").decode("utf-8")
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if isinstance(value, int) or math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
