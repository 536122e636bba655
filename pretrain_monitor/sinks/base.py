"""The sink contract, and a sink that keeps everything in lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..actions.orders import ActionRecord
from ..config import ConfigError
from ..telemetry import Event, Sample, Severity

# Duck-typed on purpose: a sink implements only what it uses of on_sample(sample), on_event(event), on_action(record),
# on_end(step, reason), close(), and on_tick(), which comes about once a second whatever else happens. All of them are
# called in a thread of the sink's own. on_handover() is called in the thread of the training, before each hand-over,
# for what can only be found or used there; it has to return at once.
Sink = Any

_METHODS = ("on_sample", "on_event", "on_action", "on_end", "on_tick", "on_handover", "close")


def checked_sinks(sinks: Any) -> tuple[Sink, ...]:
    """The sinks a user gave.

    >>> checked_sinks([ListSink])
    Traceback (most recent call last):
        ...
    pretrain_monitor.config.ConfigError: sinks[0] is the class ListSink: give an object of it, ListSink(...)

    Raises:
        ConfigError: not a list of sinks.
    """
    if not isinstance(sinks, Iterable) or isinstance(sinks, str | bytes):
        raise ConfigError(f"sinks takes a list of sinks, got {sinks!r}")
    checked = tuple(sinks)
    for place, sink in enumerate(checked):
        if isinstance(sink, type):
            name = sink.__name__
            raise ConfigError(f"sinks[{place}] is the class {name}: give an object of it, {name}(...)")
        if not _has_a_method(sink):
            raise ConfigError(f"sinks[{place}] = {sink!r} is no sink: it has none of {', '.join(_METHODS)}")
    return checked


def _has_a_method(sink: Any) -> bool:
    try:
        return any(callable(getattr(sink, name, None)) for name in _METHODS)
    except Exception:
        return True  # one that cannot even be looked at is told of, and left out, when the run starts


def checked_severity(sink: str, severity: str) -> Severity:
    """The severity a user gave to a sink.

    Raises:
        ConfigError: it does not exist.
    """
    try:
        return Severity(severity)
    except ValueError:
        allowed = ", ".join(Severity)
        raise ConfigError(f"{sink}: unknown minimum_severity {severity!r}; choose one of {allowed}") from None


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
        self.actions: list[ActionRecord] = []
        self.is_closed = False

    def on_sample(self, sample: Sample) -> None:
        self.samples.append(sample)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_action(self, record: ActionRecord) -> None:
        self.actions.append(record)

    def close(self) -> None:
        self.is_closed = True
