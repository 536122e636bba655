"""What probes found, as charts: a band of 95 % around each domain's bits per byte and each suite's accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, MarginChartContent, MultilineChartContent

from .tags import LOWER, UPPER, signal_tag

_TWO_SIDED_95 = 1.959963984540054
_BITS, _ACCURACY = "bits_per_byte", "accuracy"


def with_intervals(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics, and of each value with a standard error the ends of its interval: ``<name>/lower`` and ``/upper``.

    >>> with_intervals({"heldout/code/loss": 2.0, "heldout/code/loss_se": 0.0})["heldout/code/loss/upper"]
    2.0
    """
    result = dict(metrics)
    for name, value in metrics.items():
        error = metrics.get(f"{name}_se")
        if error is not None:
            result[f"{name}/{LOWER}"] = value - _TWO_SIDED_95 * error
            result[f"{name}/{UPPER}"] = value + _TWO_SIDED_95 * error
        elif f"{name}_lower" in metrics and f"{name}_upper" in metrics:
            result[f"{name}/{LOWER}"], result[f"{name}/{UPPER}"] = metrics[f"{name}_lower"], metrics[f"{name}_upper"]
    return result


def held_out_categories(names: Iterable[str], prefix: str = "") -> list[Category]:
    """Charts for the metrics of probes, ``with_intervals``; none where there are none.

    One chart compares all domains, and each domain has one of its own with its band.
    """
    names = list(names)
    banded = {name for name in names if f"{name}/{LOWER}" in names}
    bits = [name for name in names if name.startswith("heldout/") and name.endswith(f"/{_BITS}")]
    accuracies = [name for name in names if name.startswith("task/") and name.endswith(f"/{_ACCURACY}")]
    costs = [name for name in names if name.startswith("task/") and name.endswith(f"/gold_{_BITS}")]
    categories = []
    if bits:
        domains = [name for name in bits if not name.endswith((f"/micro/{_BITS}", f"/macro/{_BITS}"))]
        together = _lines("bits per byte, all domains", domains, prefix)
        charts = [together, *(_chart(name, name in banded, prefix) for name in bits)]
        categories.append(Category(title="Held-out text. Band: 95 % interval over documents", chart=charts))
    if accuracies:
        charts = [_lines("bits per byte of the right answers", costs, prefix)] if costs else []
        charts += [_chart(name, name in banded, prefix) for name in accuracies]
        categories.append(Category(title="Tasks. Band: 95 % interval of the accuracy", chart=charts))
    return categories


def _chart(name: str, has_band: bool, prefix: str) -> Chart:
    title = name.rpartition("/")[0].partition("/")[2]
    if not has_band:
        return _lines(title, [name], prefix)
    series = MarginChartContent.Series(
        value=signal_tag(name, prefix),
        lower=signal_tag(f"{name}/{LOWER}", prefix),
        upper=signal_tag(f"{name}/{UPPER}", prefix),
    )
    return Chart(title=title, margin=MarginChartContent(series=[series]))


def _lines(title: str, names: Iterable[str], prefix: str) -> Chart:
    patterns = [f"^{re.escape(signal_tag(name, prefix))}$" for name in names]
    return Chart(title=title, multiline=MultilineChartContent(tag=patterns))
