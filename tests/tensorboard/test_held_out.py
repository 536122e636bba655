"""What probes found, in event files: each domain has a chart with its band."""

from __future__ import annotations

import re

import pytest
from event_files import read_layout, read_scalars, read_values

from pretrain_monitor import Monitor, Sample

ROUND = {
    "heldout/code/loss": 2.0,
    "heldout/code/loss_se": 0.1,
    "heldout/code/bits_per_byte": 1.0,
    "heldout/code/bits_per_byte_se": 0.05,
    "heldout/one-document/bits_per_byte": 1.5,
    "task/arc/accuracy": 0.4,
    "task/arc/accuracy_lower": 0.3,
    "task/arc/accuracy_upper": 0.5,
    "task/arc/gold_bits_per_byte": 0.9,
}


def watch(run_dir, rounds):
    monitor = Monitor(run_dir, {"console": {"enabled": False}})
    monitor.start()
    for step in range(1, 31):
        monitor.observe(Sample(step, {"loss": 2.0}))
        if step in rounds:
            monitor.observe(Sample(step, rounds[step], meta={"probes": {"reason": "regular", "each": {}}}))
    monitor.finish()
    return run_dir / "tensorboard"


def charts(layout, word):
    (category,) = [category for category in layout.category if category.title.startswith(word)]
    return {chart.title: chart for chart in category.chart}


def test_every_domain_and_suite_has_a_chart_that_finds_its_series(tmp_path):
    logdir = watch(tmp_path, {10: ROUND, 20: {**ROUND, "heldout/new/bits_per_byte": 2.0}})
    layout, tags = read_layout(logdir), set(read_scalars(logdir))
    held_out, tasks = charts(layout, "Held-out"), charts(layout, "Tasks")
    assert set(held_out) == {"bits per byte, all domains", "code", "one-document", "new"}
    assert set(tasks) == {"bits per byte of the right answers", "arc"}
    assert [chart.title for category in layout.category for chart in category.chart][:2] == ["gradient norm", "loss"]
    for chart in (*held_out.values(), *tasks.values()):
        for series in chart.margin.series:
            assert {series.value, series.lower, series.upper} <= tags
        for pattern in chart.multiline.tag:
            assert any(re.match(pattern, tag) for tag in tags), pattern
    assert held_out["code"].HasField("margin")
    assert not held_out["one-document"].HasField("margin")  # no spread, no band


def test_the_band_is_95_percent(tmp_path):
    series = read_scalars(watch(tmp_path, {10: ROUND}))
    assert series["heldout/code/bits_per_byte/lower"] == [(10, pytest.approx(1.0 - 1.96 * 0.05, abs=1e-4))]
    assert series["heldout/code/bits_per_byte/upper"] == [(10, pytest.approx(1.0 + 1.96 * 0.05, abs=1e-4))]
    assert series["task/arc/accuracy/lower"] == [(10, pytest.approx(0.3))]


def test_the_layout_is_written_again_only_when_there_is_something_new(tmp_path):
    logdir = watch(tmp_path, {10: ROUND, 20: ROUND, 30: ROUND})
    assert sum(value.tag == "custom_scalars__config__" for _, value in read_values(logdir)) == 2


def test_a_run_without_probes_has_no_chart_for_them(tmp_path):
    titles = [category.title for category in read_layout(watch(tmp_path, {})).category]
    assert not any(title.startswith(("Held-out", "Tasks")) for title in titles)
