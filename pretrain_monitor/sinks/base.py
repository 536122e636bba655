"""The sink contract, and a sink that keeps everything in lists."""

from __future__ import annotations

from typing import Any

from ..telemetry import Event, Sample

# Duck-typed on purpose: a sink implements only what it uses.
Sink = Any


class ListSink:
    """Keeps what it is given: for tests, notebooks and trying things out.

    >>> sink = ListSink()
    >>> sink.on_sample(Sample(1, {"loss": 2.0}))
    >>> [sample.step for sample in sink.samples]
    [1]
    """

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.is_closed = False

    def on_sample(self, sample: Sample) -> None:
        self.samples.append(sample)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.is_closed = True
