"""Follows a run that was recorded without this package: its incidents are found here and now, by replay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..config import MonitorConfig
from ..detection.detector import InstabilityDetector
from ..readers.event_files import EventFileRun, Late, Superseded
from ..telemetry import Event, Sample
from .content import RunContent
from .expected import Band, BandRows

_JUDGED = frozenset({"loss", "grad_norm", "learning_rate", "loss_scale", "epoch"})


class EventFileFollower:
    """Reads the event files of a directory and runs the detector over them.

    Args:
        directory: that holds the event files themselves.
        config: of the detector.
    """

    def __init__(self, directory: Path, config: MonitorConfig | None = None) -> None:
        self.path = directory
        self.content = RunContent()
        self._config = config if config is not None else MonitorConfig()
        self._source = EventFileRun(directory)
        self._detector = InstabilityDetector(self._config)
        self._bands = BandRows()
        self.version = 0  # of the bands

    def read(self, at_most: int = 64 << 10) -> bool:
        """Take in about ``at_most`` bytes; whether there may be more.

        Raises:
            OSError: a file is there and cannot be read.
            LogError: it can be no event file, or tensorboard is not installed.
        """
        for item in self._source.poll(at_most):
            if isinstance(item, Superseded):
                self._take_back(item.step - 1)
            elif isinstance(item, Late):
                self.content.add_late(item.step, item.metrics)
            else:
                self.content.add_sample(item)
                self._judge(item)
        if not self._source.is_behind and self._source.is_quiet:
            for sample in self._source.flush():
                self.content.add_sample(sample)
                self._judge(sample)
        return self._source.is_behind

    def band(self, signal: str, first: int, last: int) -> Band:
        return self._bands.of(signal, first, last)

    def _judge(self, sample: Sample) -> list[Event]:
        events = self._detector.update(_of_training(sample))
        for event in events:
            self.content.add_event(event)
        if "loss" in sample.metrics or "grad_norm" in sample.metrics:
            self._bands.add(sample, self._detector)
            self.version += 1
        return events

    def _take_back(self, after: int) -> None:
        """What came past a step is void: the detector starts again with what is left."""
        self.content.cut(after)
        self.content.forget_incidents()  # they are found again below
        self._detector = InstabilityDetector(self._config)
        self._bands = BandRows()
        for sample in samples_of(self.content):
            for event in self._detector.update(_of_training(sample)):
                self.content.add_event(event)
            if "loss" in sample.metrics or "grad_norm" in sample.metrics:
                self._bands.add(sample, self._detector)
        self.version += 1


def _of_training(sample: Sample) -> Sample:
    """What a detector should judge: not the many other things that people log, evaluations among them."""
    return Sample(sample.step, {name: value for name, value in sample.metrics.items() if name in _JUDGED})


def samples_of(content: RunContent) -> Iterator[Sample]:
    """The samples that a content was filled with, oldest first; without what their meta held."""
    rows: dict[int, dict[str, float]] = {}
    for name, series in content.series.items():
        for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
            rows.setdefault(step, {})[name] = value
    for step in sorted(rows):
        yield Sample(step, rows[step])
