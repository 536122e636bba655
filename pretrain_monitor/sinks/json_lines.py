"""One JSON object a line on stdout, for whatever collects the logs of a cluster."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from ..actions.orders import ActionRecord
from ..actions.words import action_title
from ..config import ConfigError
from ..printable import shorten
from ..telemetry import Change, Event, Sample, spell_nonfinite
from .base import checked_severity

_SOURCE = "pretrain_monitor"
_MAX_BYTES = 15_000  # container runtimes break lines at 16 KiB, and half an object is no JSON
_MAX_TEXT = 500
_MAX_NAME = 200


class JsonLinesSink:
    """Writes changes of incidents, what was done about them, the end, and samples if asked for: a line of JSON each.

    >>> sink = JsonLinesSink(sys.stdout, samples_every=2)
    >>> for step in (1, 2):
    ...     sink.on_sample(Sample(step, {"loss": float("nan")}))
    {"source": "pretrain_monitor", "type": "sample", "step": 2, "metrics": {"loss": "NaN"}}

    Args:
        stream: None is ``sys.stdout`` as it is at each line.
        minimum_severity: ``info``, ``warning`` or ``critical``; an incident that has reached it is written to its end.
        samples_every: 10 writes every tenth sample; None writes no samples.

    Raises:
        ConfigError: a severity that does not exist, or ``samples_every`` below 1.
    """

    def __init__(
        self, stream: TextIO | None = None, *, minimum_severity: str = "info", samples_every: int | None = None
    ) -> None:
        if samples_every is not None and samples_every < 1:
            raise ConfigError(f"JsonLinesSink: samples_every={samples_every!r}: give 1 or more, or None for no samples")
        self._stream = stream
        self._minimum = checked_severity("JsonLinesSink", minimum_severity)
        self._samples_every = samples_every
        self._samples = 0
        self._told: set[str] = set()

    def on_sample(self, sample: Sample) -> None:
        if self._samples_every is None:
            return
        self._samples += 1
        if self._samples % self._samples_every == 0:
            self._write(_sample_line(sample))

    def on_event(self, event: Event) -> None:
        if event.incident.severity < self._minimum and event.incident_id not in self._told:
            return
        if event.change is Change.CLOSED:
            self._told.discard(event.incident_id)
        else:
            self._told.add(event.incident_id)
        self._write(_incident_line(event))

    def on_action(self, record: ActionRecord) -> None:
        facts = {"do": record.do, "outcome": record.outcome, "incident": record.incident}
        text = {"title": shorten(action_title(record), _MAX_TEXT), "reason": shorten(record.reason, _MAX_TEXT)}
        self._write(_json({"source": _SOURCE, "type": "action", "step": record.step, **facts, **text}))

    def on_end(self, step: int | None, reason: str) -> None:
        self._write(_json({"source": _SOURCE, "type": "end", "step": step, "reason": shorten(reason, _MAX_TEXT)}))

    def _write(self, line: str) -> None:
        stream = sys.stdout if self._stream is None else self._stream
        if stream is None:
            return  # a program without a console
        if hasattr(stream, "rich_proxied_file"):
            # A rich progress bar is on and would break the line at the width of the terminal. Its own line is not
            # finished, so that ours begins with a line break.
            stream, line = stream.rich_proxied_file, f"\n{line}"
        stream.write(f"{line}\n")
        stream.flush()


def _incident_line(event: Event) -> str:
    incident = event.incident.to_json()
    message, advice = event.incident.message, event.incident.advice
    line = _of_event(event, message, advice, incident)
    if len(line) > _MAX_BYTES:
        line = _of_event(event, message, advice, {**incident, "evidence": {}})
    if len(line) > _MAX_BYTES:
        # A character may take twelve bytes when it is escaped.
        short = {"id": shorten(event.incident_id, _MAX_NAME)}
        line = _of_event(event, shorten(message, _MAX_TEXT), shorten(advice, _MAX_TEXT), short)
    return line


def _of_event(event: Event, message: str, advice: str, incident: dict[str, Any]) -> str:
    return _json(
        {
            "source": _SOURCE,
            "type": "incident",
            "change": event.change.value,
            "step": event.step,
            "severity": event.incident.severity.value,
            "kind": event.incident.kind.value,
            "status": event.incident.status.value,
            "message": message,
            "advice": advice,
            "incident": incident,
        }
    )


def _sample_line(sample: Sample) -> str:
    record: dict[str, Any] = {"source": _SOURCE, "type": "sample", "step": sample.step}
    metrics = spell_nonfinite(sample.metrics)
    line = _json({**record, "metrics": metrics})
    if len(line) <= _MAX_BYTES:
        return line
    kept: dict[str, Any] = {}
    room = _MAX_BYTES - 200
    for name, value in metrics.items():
        room -= len(_json({name: value}))
        if room < 0:
            break
        kept[name] = value
    return _json({**record, "metrics": kept, "left_out": len(metrics) - len(kept)})


def _json(record: dict[str, Any]) -> str:
    # ASCII, so that a terminal or a collector without UTF-8 takes it, and characters are bytes.
    return json.dumps(record, allow_nan=False, ensure_ascii=True)
