"""The first of two passes over a log: which incidents it holds, and where to look for one of them again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..config import MonitorConfig
from ..detection.detector import InstabilityDetector
from ..telemetry import Change, Incident, Sample, in_order


@dataclass(frozen=True, slots=True)
class Survey:
    """The incidents of a log in their final state, in order of onset.

    Args:
        opened: number of the sample, counted from 0, that opened each incident, by its id.
        closed: the same for the one that closed it; what the end of the log closed is not there.
        samples: how many the log held.
        signals: names of everything logged, in the order of appearance.
    """

    incidents: tuple[Incident, ...]
    opened: dict[str, int]
    closed: dict[str, int]
    samples: int
    signals: tuple[str, ...]


def survey(samples: Iterable[Sample], config: MonitorConfig) -> Survey:
    """Run the detector over a log, in constant memory.

    Raises:
        ValueError: steps that go backwards.
    """
    detector = InstabilityDetector(config)
    opened: dict[str, int] = {}
    closed: dict[str, int] = {}
    signals: dict[str, None] = {}
    count = 0
    for number, sample in enumerate(samples):
        for event in detector.update(sample):
            opened.setdefault(event.incident_id, number)
            if event.change is Change.CLOSED:
                closed[event.incident_id] = number
        if not signals.keys() >= sample.metrics.keys():
            signals.update(dict.fromkeys(sample.metrics))
        count = number + 1
    detector.finish()
    return Survey(tuple(in_order(detector.incidents)), opened, closed, count, tuple(signals))
