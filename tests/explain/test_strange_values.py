"""Values and names that no training should have, through every way of drawing; warnings are errors here."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from curves import healthy_run, samples
from eventful_runs import CONFIG
from rich.console import Console

from pretrain_monitor import Sample
from pretrain_monitor.explain.html import write_html
from pretrain_monitor.explain.png import write_png
from pretrain_monitor.explain.scene import explain
from pretrain_monitor.explain.survey import survey
from pretrain_monitor.explain.terminal import print_explanation


def draw_all(stream: list[Sample], folder: Path) -> int:
    found = survey(stream, CONFIG)
    for incident in found.incidents[:2]:
        explanation = explain(stream, incident, found, CONFIG)
        assert len(explanation.tracks) <= 4
        print_explanation(explanation, Console(file=io.StringIO(), width=80, _environ={}))
        write_png(explanation, folder / "why.png")
        write_html(explanation, folder / "why.html")
    return len(found.incidents)


@pytest.mark.parametrize("value", [1e308, -1e308, 1e-300, 0.0, -5.0, math.inf, -math.inf], ids=str)
def test_a_value_at_the_end_of_the_range_of_floats(tmp_path: Path, value: float):
    stream = list(samples(healthy_run(400, seed=5)))
    for place in (300, 301, 302, 303):
        stream[place] = Sample(stream[place].step, {**stream[place].metrics, "loss": value, "grad_norm": abs(value)})
    stream[310] = Sample(stream[310].step, {"loss": math.nan})
    assert draw_all(stream, tmp_path)


def test_one_sample_steps_below_zero_and_two_samples_of_one_step(tmp_path: Path):
    assert draw_all([Sample(0, {"loss": math.nan})], tmp_path) == 1
    assert draw_all([Sample(-3, {"loss": math.inf}), Sample(-3, {"heldout/x/perplexity": 2.0})], tmp_path) == 1


def test_of_a_hundred_signals_a_few_are_drawn_and_the_rest_is_counted(tmp_path: Path):
    def row(step: int) -> Sample:
        groups = {f"grad_norm/group{k}": math.nan if step > 60 else 1.0 + step % 3 for k in range(100)}
        return Sample(step, {"loss": 2.5 + 0.01 * (step % 7), **groups})

    stream = [row(step) for step in range(1, 90)]
    assert draw_all(stream, tmp_path) == 1
    found = survey(stream, CONFIG)
    explanation = explain(stream, found.incidents[0], found, CONFIG)
    assert [track.name for track in explanation.tracks][-1] == "loss"
    assert len(explanation.unshown) == 97


def test_a_probe_that_failed_in_a_run_that_reported_nothing_else(tmp_path: Path):
    failure = {"probe": "heldout", "problem": "the disk is gone", "switched_off": True}
    assert draw_all([Sample(0, {}, meta={"probe_failures": [failure]})], tmp_path) == 1
    page = (tmp_path / "why.html").read_text()
    assert "the disk is gone" in page
    assert "nothing is drawn: the log holds no loss" in page
