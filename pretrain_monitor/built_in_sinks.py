"""The sinks that settings alone ask for. Each is imported when it is wanted, with what it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .config import MonitorConfig
from .sinks.base import Sink


class BuiltInSinks:
    """Opens them for one session; each gives None where it is not wanted.

    Args:
        run_dir: where files may be written; None keeps nothing on disk.
        step: optimizer steps completed when watching begins.
        summary_writer: the trainer's own TensorBoard writer, if it has one.
        loggers: of the trainer, where it has any with ``log_metrics``.
    """

    def __init__(
        self, config: MonitorConfig, run_dir: Path | None, step: int, summary_writer: Any, loggers: Sequence[Any] = ()
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._step = step
        self._summary_writer = summary_writer
        self._loggers = loggers

    def all(self) -> dict[str, Callable[[], Sink]]:
        """What opens each, by what it is called where it fails."""
        return {
            "the terminal": self.console,
            "TensorBoard": self.panels,
            "messages": self.notify,
            "trackers": self.trackers,
            "lines of JSON": self.json_lines,
            "the Prometheus file": self.prometheus,
        }

    def console(self) -> Sink:
        if not self._config.console.enabled:
            return None
        from .sinks.console import ConsoleSink

        return ConsoleSink(self._config.console, self._run_dir)

    def panels(self) -> Sink:
        if not self._config.tensorboard.enabled:
            return None
        from .tensorboard.panels import open_panels

        return open_panels(self._config.tensorboard, self._run_dir, self._summary_writer, self._step)

    def notify(self) -> Sink:
        if not self._config.notify.urls:
            return None
        from .sinks.notify import NotifySink

        closing_s = self._config.sink_timeout_s
        return NotifySink(self._config.notify, self._run_dir, is_fresh=self._step == 0, closing_s=closing_s)

    def trackers(self) -> Sink:
        settings = self._config.trackers
        if not settings.enabled:
            return None
        from .sinks.trackers import TrackerSink

        severity = settings.minimum_severity
        return TrackerSink(self._loggers, every_steps=settings.every_steps, minimum_severity=severity)

    def json_lines(self) -> Sink:
        settings = self._config.json_lines
        if not settings.enabled:
            return None
        from .sinks.json_lines import JsonLinesSink

        return JsonLinesSink(minimum_severity=settings.minimum_severity, samples_every=settings.samples_every)

    def prometheus(self) -> Sink:
        settings = self._config.prometheus
        if settings.path is None:
            return None
        from .sinks.prometheus import PrometheusSink

        run = None if self._run_dir is None else {"run": self._run_dir.absolute().name}
        return PrometheusSink(settings.path, every_s=settings.every_s, labels=run)
