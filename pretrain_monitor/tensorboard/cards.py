"""Incidents as Markdown cards for the Text tab."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING

from ..announcing import Announcement, announced_in
from ..detection.messages import number
from ..telemetry import Change, Event, Incident, Kind, Sample, Severity, Status
from .tags import ALERT_CARDS, INFO_CARDS, OVERVIEW_CARDS

_MAX_LINES = 50
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#])")


class IncidentCards:
    """Decides which cards an event is worth: one when an alert is raised or gets worse, one when an incident is over.

    TensorBoard shows the newest card first and keeps few of each tag, so alerts have a tag that info incidents cannot
    fill up, and each overview card replaces all earlier ones.

    Args:
        first_step: first step that is watched.
    """

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._incidents: dict[str, Incident] = {}
        self._told: dict[str, Severity] = {}
        self._announced: list[Announcement] = []

    def on_sample(self, sample: Sample) -> dict[str, str]:
        """Card name -> Markdown: the overview names what was announced, for incidents beside it are read with it."""
        announced = announced_in(sample.step, sample.meta) if sample.meta else None
        if not announced:
            return {}
        self._announced = [*self._announced, *announced][-_MAX_LINES:]
        return {OVERVIEW_CARDS: self.overview(sample.step)}

    def on_event(self, event: Event) -> dict[str, str]:
        """Card name -> Markdown."""
        incident = event.incident
        self._incidents[incident.id] = incident
        is_over = event.change is Change.CLOSED
        if not incident.is_alert:
            return {INFO_CARDS: incident_card(incident)} if is_over else {}
        is_news = incident.severity > self._told.get(incident.id, Severity.INFO)
        if not (is_news or is_over):
            return {}
        self._told[incident.id] = incident.severity
        return {ALERT_CARDS: incident_card(incident), OVERVIEW_CARDS: self.overview(event.step)}

    def overview(self, step: int) -> str:
        return overview_card(list(self._incidents.values()), self._first_step, step, self._announced)


def add_card(summary: Summary, tag: str, markdown: str) -> None:
    # Without data_class TensorBoard's fast loader keeps nothing.
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"), data_class=DATA_CLASS_TENSOR)
    tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()], tensor_shape=TensorShapeProto())
    summary.value.add(tag=tag, metadata=metadata, tensor=tensor)


def incident_card(incident: Incident) -> str:
    """Everything for a person who sees no other card: what, how bad, the numbers, what to do."""
    step = f"step {incident.onset_step:,}"
    parts = [
        f"### {incident.severity.upper()}: {_words(incident.kind)} at {step} ({_outcome(incident)})",
        _escape(incident.message),
        "| fact | numbers |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in _facts(incident)),
    ]
    if incident.advice:
        parts.insert(2, f"**What to do:** {_escape(incident.advice)}")
    return "\n\n".join(parts)


def overview_card(
    incidents: list[Incident], first_step: int, last_step: int, announced: Sequence[Announcement] = ()
) -> str:
    """All incidents and what was announced, the newest first, a line each."""
    alerts = sum(incident.is_alert for incident in incidents)
    head = f"### {_count(alerts, 'alert')}, {len(incidents) - alerts:,} info, steps {first_step:,} to {last_step:,}"
    # A list: TensorBoard breaks the words of narrow table columns.
    by_step = [
        (i.onset_step, f"{i.severity}, {_words(i.kind)}, {_outcome(i)}**: {_escape(i.message)}") for i in incidents
    ]
    by_step += [(said.step, f"announced, {_words(said.what)}**: {_escape(said.text)}") for said in announced]
    by_step.sort(key=lambda line: line[0], reverse=True)
    lines = [f"- **step {step:,}: {text}" for step, text in by_step[:_MAX_LINES]]
    if len(by_step) > len(lines):
        lines.append(f"- and {len(by_step) - len(lines):,} earlier ones, which are in the run log")
    return "\n\n".join([head, "\n".join(lines)]) if lines else head


def _facts(incident: Incident) -> list[tuple[str, str]]:
    """The numbers behind the message; unknown ones are left out."""
    steps = f"onset {incident.onset_step:,}, detected {incident.detected_step:,}, peak {incident.peak_step:,}"
    if incident.end_step is not None:
        steps += f", over {incident.end_step:,}"
    values = []
    if incident.expected is not None:
        values.append(f"expected {number(incident.expected)}")
    if incident.peak is not None:
        values.append(f"peak {number(incident.peak).replace('nan', 'NaN')}")
    if incident.score is not None and math.isfinite(incident.score):
        values.append(f"{incident.score:,.1f} robust standard deviations above")
    facts = [("steps", steps), ("signals", _escape(", ".join(incident.signals)))]
    if values:
        facts.append((_escape(incident.signals[0]), ", ".join(values)))
    if (ratio := incident.evidence.get("grad_norm_ratio")) is not None:
        facts.append(("gradient norm", f"{ratio:.3g} times the expected one"))
    excess = incident.excess_loss
    if excess is not None and math.isfinite(excess) and incident.kind is not Kind.NONFINITE:
        facts.append(("excess loss", f"{number(excess)} nats x steps"))
    return [*facts, ("id", _escape(incident.id))]


def _outcome(incident: Incident) -> str:
    return "open when the run ended" if incident.status is Status.ENDED_RUN else incident.status.value


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _escape(text: str) -> str:
    """Markdown that shows the text as it is: a signal's name may hold anything."""
    text = html.escape(" ".join(text.split()), quote=False)
    return _MARKDOWN.sub(r"\\\1", text).replace("|", "&#124;")
