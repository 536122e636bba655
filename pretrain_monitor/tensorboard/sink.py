"""Draws a run in TensorBoard: one summary a step, cards for incidents."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tensorboard.compat.proto.summary_pb2 import Summary

from ..telemetry import Event, Sample
from .cards import IncidentCards, add_card
from .held_out import held_out_categories, with_intervals
from .layout import add_layout
from .levels import IncidentLevels, Level
from .markers import AlertMarkers, Marker
from .tags import BANDED, CARDS, LOWER, OVERVIEW_CARDS, UPPER, card_tag, incident_tag, signal_tag
from .writers import LazyWriter, SummaryWriter


class TensorBoardSink:
    """Scalars of every step with expected value and band, severity of open incidents, and Markdown cards.

    The points of alerts are drawn once more, under the same tags, in a run of their own: TensorBoard colours by run.

    Args:
        writer: takes everything but the points of alerts.
        alerts: takes the points of alerts; None where there is no place for them.
        step: optimizer steps completed when watching begins.
        has_past: earlier sessions drew into the same run; what they drew past ``step`` is superseded.
        prefix: put before every tag.
    """

    def __init__(
        self,
        writer: SummaryWriter,
        alerts: LazyWriter | None,
        *,
        step: int = 0,
        has_past: bool = False,
        prefix: str = "",
    ) -> None:
        self._writer = writer
        self._alerts = alerts
        self._prefix = prefix
        self._tags: dict[str, str] = {}
        self._levels = IncidentLevels(step + 1)
        self._markers = AlertMarkers()
        self._cards = IncidentCards(step + 1)
        self._probed: dict[str, None] = {}  # names of metrics, in the order in which they came
        self._last_step = step
        self._time: float | None = None
        if has_past:
            self._supersede(step + 1)
        layout = Summary()
        add_layout(layout, prefix)
        writer.write(layout, step)
        self._draw_levels(self._levels.start())

    def on_sample(self, sample: Sample) -> None:
        self._last_step, self._time = sample.step, sample.time
        summary = Summary()
        add = summary.value.add
        metrics = sample.metrics
        if sample.meta is not None and "probes" in sample.meta:
            metrics = with_intervals(metrics)
            self._lay_out(metrics, sample.step)
        for name, value in metrics.items():
            add(tag=self._tag(name), simple_value=value)
        for signal in BANDED:
            if signal in metrics and f"{signal}/{UPPER}" not in metrics:
                # A chart with a band refuses series of different lengths; no band yet is one without width.
                add(tag=self._tag(f"{signal}/{LOWER}"), simple_value=metrics[signal])
                add(tag=self._tag(f"{signal}/{UPPER}"), simple_value=metrics[signal])
        if sample.tokens_seen is not None:
            add(tag=self._tag("tokens_seen"), simple_value=sample.tokens_seen)
        self._writer.write(summary, sample.step, sample.time)
        self._draw_levels(self._levels.on_step(sample.step))
        self._draw_markers(self._markers.on_sample(sample))
        self._draw_cards(self._cards.on_sample(sample), sample.step)

    def on_event(self, event: Event) -> None:
        self._draw_levels(self._levels.on_event(event))
        self._draw_markers(self._markers.on_event(event))
        self._draw_cards(self._cards.on_event(event), event.step)
        if event.incident.is_alert:
            self._writer.flush()
            if self._alerts is not None:
                self._alerts.flush()

    def close(self) -> None:
        self._draw_levels(self._levels.finish(self._last_step))
        self._draw_cards({OVERVIEW_CARDS: self._cards.overview(self._last_step)}, self._last_step)
        self._writer.close()
        if self._alerts is not None:
            self._alerts.close()

    def _lay_out(self, probed: Mapping[str, float], step: int) -> None:
        """Give charts to what probes measure: nobody knows their domains before the first round."""
        new = probed.keys() - self._probed.keys()
        self._probed.update(dict.fromkeys(probed))
        if new:
            layout = Summary()
            add_layout(layout, self._prefix, held_out_categories(self._probed, self._prefix))
            self._writer.write(layout, step)

    def _tag(self, name: str) -> str:
        tag = self._tags.get(name)
        if tag is None:
            tag = self._tags[name] = signal_tag(name, self._prefix)
        return tag

    def _draw_levels(self, levels: list[Level]) -> None:
        for level in levels:
            tag = incident_tag(level.signal, self._prefix)
            self._writer.write(
                Summary(value=[Summary.Value(tag=tag, simple_value=level.value)]), level.step, self._time
            )

    def _draw_markers(self, markers: list[Marker]) -> None:
        if self._alerts is None:
            return
        for marker in markers:
            point = Summary()
            # The chart with a band complains about a run that lacks one of its three series.
            for name in (marker.signal, f"{marker.signal}/{LOWER}", f"{marker.signal}/{UPPER}"):
                point.value.add(tag=self._tag(name), simple_value=marker.value)
            self._alerts.write(point, marker.step, self._time)

    def _draw_cards(self, cards: dict[str, str], step: int) -> None:
        if cards:
            summary = Summary()
            for name, markdown in cards.items():
                add_card(summary, card_tag(name, self._prefix), markdown)
            self._writer.write(summary, step, self._time)

    def _supersede(self, step: int) -> None:
        """Make TensorBoard forget what an earlier session drew at ``step`` or later.

        Its fast loader ignores the start of a session and drops, tag by tag, what a later record precedes. Series of
        every step do that by themselves; cards and the points of alerts need a record here.
        """
        self._writer.supersede(step)
        self._draw_cards(dict.fromkeys(CARDS, f"Resumed after step {step - 1:,}."), step)
        if self._alerts is not None and self._alerts.has_past:
            self._alerts.supersede(step)
            self._draw_markers([Marker(step, signal, math.nan) for signal in BANDED])
