"""Reads back what was written, with TensorBoard's own loader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout


def read_events(logdir: Path) -> Iterator[Event]:
    """Every record of the run in ``logdir``, in the order of writing; not of the runs below it."""
    for path in sorted(logdir.glob("*tfevents*")):
        yield from LegacyEventFileLoader(str(path)).Load()


def read_values(logdir: Path) -> Iterator[tuple[int, Summary.Value]]:
    for event in read_events(logdir):
        for value in event.summary.value:
            yield event.step, value


def read_scalars(logdir: Path) -> dict[str, list[tuple[int, float]]]:
    series = defaultdict(list)
    for step, value in read_values(logdir):
        if value.WhichOneof("value") == "simple_value":
            series[value.tag].append((step, value.simple_value))
    return dict(series)


def read_cards(logdir: Path) -> dict[str, list[tuple[int, str]]]:
    cards = defaultdict(list)
    for step, value in read_values(logdir):
        if value.metadata.plugin_data.plugin_name == "text":
            cards[value.tag].append((step, value.tensor.string_val[0].decode()))
    return dict(cards)


def read_layout(logdir: Path) -> Layout:
    tag = "custom_scalars__config__"
    # TensorBoard shows the last one of a run.
    return Layout.FromString([v.tensor.string_val[0] for _, v in read_values(logdir) if v.tag == tag][-1])
