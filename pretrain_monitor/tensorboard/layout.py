"""What the Custom Scalars tab opens with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)

from ..naming import SIGNAL_NAMES
from .tags import LOWER, UPPER, signal_tag

# There is no way to set the scaling from here.
_LEGEND = "Second colour: alerts. Untick 'Ignore outliers' to see peaks in full."


def add_layout(summary: Summary, prefix: str = "", more: Sequence[Category] = ()) -> None:
    """Put in the record that TensorBoard looks for; it merges the layouts of several runs, and reads the last of each.

    Args:
        more: categories behind the usual ones.
    """
    # Without data_class TensorBoard's fast loader keeps nothing.
    metadata = SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name="custom_scalars"), data_class=DATA_CLASS_TENSOR
    )
    layout = stability_layout(prefix)
    layout.category.extend(more)
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()], tensor_shape=TensorShapeProto())
    summary.value.add(tag="custom_scalars__config__", metadata=metadata, tensor=tensor)


def stability_layout(prefix: str = "") -> Layout:
    """Loss with its band first, then the gradient norm, the incidents and the learning rate."""
    # A category of their own, last first: TensorBoard puts charts with a band behind all others, in reverse order.
    bands = [_band("grad_norm", prefix), _band("loss", prefix)]
    lines = [
        _lines("open incidents: 1 info, 2 warning, 3 critical", f"^{re.escape(prefix)}incident/"),
        _lines(SIGNAL_NAMES["learning_rate"], _exactly(signal_tag("learning_rate", prefix))),
        _lines(SIGNAL_NAMES["loss"], _exactly(signal_tag("loss", prefix))),
        _lines(SIGNAL_NAMES["grad_norm"], _exactly(signal_tag("grad_norm", prefix))),
    ]
    return Layout(
        category=[
            Category(title=f"Band: what was expected. Line: what came. {_LEGEND}", chart=bands),
            Category(title=f"Incidents and signals. {_LEGEND}", chart=lines),
        ]
    )


def _band(signal: str, prefix: str) -> Chart:
    # Exact tags: unlike the other kind of chart, this one takes no regular expression.
    series = MarginChartContent.Series(
        value=signal_tag(signal, prefix),
        lower=signal_tag(f"{signal}/{LOWER}", prefix),
        upper=signal_tag(f"{signal}/{UPPER}", prefix),
    )
    return Chart(title=SIGNAL_NAMES[signal], margin=MarginChartContent(series=[series]))


def _lines(title: str, *patterns: str) -> Chart:
    return Chart(title=title, multiline=MultilineChartContent(tag=patterns))


def _exactly(tag: str) -> str:
    return f"^{re.escape(tag)}$"
