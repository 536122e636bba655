from __future__ import annotations

import numpy as np
import pytest
from eventful_runs import RUNS, explanation_of

from pretrain_monitor.explain.drawing import Band, Line, Panel, Point, Role
from pretrain_monitor.explain.panels import draw

STEPS = np.arange(4.0)


def line(*values: float, role: Role = Role.SIGNAL) -> Line:
    return Line(role, "line", STEPS[: len(values)], np.array(values, dtype=float))


def test_what_was_measured_is_never_cut_off():
    assert Panel("", (line(1, 5, -2, np.nan),)).limits() == (-2, 5)
    assert Panel("", (line(1, 2),), points=(Point(Role.ALARM, 1, 9.0, ""),)).limits() == (1, 9)


def test_a_band_widens_the_axis_by_a_third_at_most():
    band = Band("", STEPS, np.full(4, -1e9), np.full(4, 3.1))
    low, high = Panel("", (line(0, 3),), (band,)).limits()
    assert (low, high) == pytest.approx((-1.0, 3.1))


@pytest.mark.parametrize("values", [(2.0, 2.0), (0.0, 0.0), (np.nan, np.nan), (np.inf, np.nan), ()])
@pytest.mark.parametrize("is_log", [False, True])
def test_an_axis_always_has_an_extent(values: tuple[float, ...], is_log: bool):
    low, high = Panel("", (line(*values),), is_log=is_log).limits()
    assert np.isfinite([low, high]).all()
    assert low < high


def test_a_log_axis_leaves_out_what_has_no_logarithm():
    assert Panel("", (line(0, 1, 100, -5),), is_log=True).limits() == (1, 100)


@pytest.mark.parametrize("run", RUNS)
def test_every_incident_has_panels_whose_parts_fit_together(run: str):
    explanation = explanation_of(run)
    drawing = draw(explanation)
    assert drawing.first < drawing.last
    assert {mark.role for mark in drawing.marks} <= {Role.ONSET, Role.DETECTED, Role.END}
    for panel in drawing.panels:
        assert panel.title.isprintable()
        for part in panel.lines:
            assert len(part.steps) == len(part.values) > 0
        low, high = panel.limits()
        assert low < high


def test_a_signal_that_blew_up_is_drawn_on_a_log_scale_and_others_are_not():
    by_title = {panel.title: panel for panel in draw(explanation_of("divergence")).panels}
    assert by_title["gradient norm"].is_log
    assert not by_title["loss"].is_log


def test_charts_are_drawn_for_signals_that_they_have_to_do_with():
    titles = [panel.title for panel in draw(explanation_of("level_shift")).panels]
    assert [title for title in titles if title.startswith("level chart")] == [
        "level chart of loss (shifts of 0.5 to 3 sd)"
    ]
    assert "gradient norm (for comparison)" in titles
    assert not any("chart" in panel.title for panel in draw(explanation_of("lr_anomaly")).panels)
    assert draw(explanation_of("lr_anomaly")).panels[0].title == "learning rate"


def test_a_residual_far_beyond_its_threshold_does_not_hide_the_rest():
    panel = next(panel for panel in draw(explanation_of("spike")).panels if "residual of loss" in panel.title)
    _low, high = panel.limits()
    assert panel.beyond is not None
    assert panel.beyond.value == pytest.approx(max(panel.lines[0].values))
    assert high < panel.beyond.value


def test_of_a_million_nan_some_hundred_are_marked_up_to_the_last():
    points = draw(explanation_of("dead")).panels[0].points
    assert 100 <= len(points) <= 200
    assert max(point.step for point in points) > explanation_of("dead").last_step - 20
