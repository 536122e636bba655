from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection.curves import Verdict
from benchmarks.detection.noises import autoregressive, gaussian, skewed, student
from benchmarks.detection.quiet import quiet_run, rate_schedule
from benchmarks.detection.synthetic import SCENARIOS, synthetic


@pytest.fixture(scope="module")
def curves():
    return synthetic()


@pytest.mark.parametrize(
    "noise",
    [gaussian, student(4), skewed, autoregressive(0.8), autoregressive(0.5, 0.3)],
    ids=["gaussian", "student", "skewed", "ar1", "ar2"],
)
def test_noise_has_mean_zero_and_unit_variance(noise):
    values = noise(np.random.default_rng(0), 200_000)
    assert values.mean() == pytest.approx(0, abs=0.03)
    assert values.std() == pytest.approx(1, abs=0.03)


def test_autoregressive_noise_has_the_memory_it_was_asked_for():
    values = autoregressive(0.8)(np.random.default_rng(0), 100_000)
    assert np.corrcoef(values[:-1], values[1:])[0, 1] == pytest.approx(0.8, abs=0.01)


def test_schedules_warm_up_and_end_at_a_tenth_of_the_peak():
    for name in ("cosine", "wsd"):
        rate = rate_schedule(name, 1000, 100, 1.0)
        assert rate[99] == pytest.approx(1.0)
        assert rate[-1] == pytest.approx(0.1, abs=0.05)
    with pytest.raises(ValueError, match='unknown schedule "flat"; choose cosine or wsd'):
        rate_schedule("flat", 1000, 100, 1.0)


def test_a_run_begins_at_the_log_of_a_vocabulary_and_falls():
    run = quiet_run(np.random.default_rng(0), 2000)
    assert run.level[0] == pytest.approx(10.8)
    assert np.all(np.diff(run.level) < 0)


def test_every_scenario_is_there_under_its_own_source(curves):
    assert {curve.source for curve in curves} == {scenario.__name__ for scenario in SCENARIOS}
    assert len({curve.name for curve in curves}) == len(curves) == sum(SCENARIOS.values())


def test_curves_are_the_same_every_time(curves):
    again = synthetic()
    assert all(np.array_equal(a.loss, b.loss, equal_nan=True) for a, b in zip(curves, again, strict=True))
    assert [curve.events for curve in again] == [curve.events for curve in curves]


def test_healthy_scenarios_have_no_events_and_all_others_some(curves):
    for curve in curves:
        assert bool(curve.events) is not curve.source.endswith("healthy"), curve.name


def test_events_lie_within_their_curve_in_order(curves):
    for curve in curves:
        firsts = [event.first for event in curve.events]
        assert firsts == sorted(firsts)
        assert all(0 <= event.first <= event.last < curve.rows for event in curve.events)


def test_values_are_not_finite_exactly_where_an_event_says_so(curves):
    for curve in curves:
        said = [event.first for event in curve.events if event.kind == "nonfinite"]
        assert np.flatnonzero(~np.isfinite(curve.loss)).tolist() == said


def test_the_second_event_follows_twenty_or_forty_rows_after_the_first(curves):
    for curve in (curve for curve in curves if curve.source.startswith("after_")):
        first, second = curve.events
        assert second.first - first.first in (20, 40)
        assert second.group == curve.source and second.verdict is Verdict.MUST


def test_early_trouble_begins_in_the_first_300_rows_and_is_visible_from_its_first_row_on(curves):
    for curve in (curve for curve in curves if curve.source == "early_trouble"):
        (event,) = curve.events
        assert event.first < 300
        if event.kind != "nonfinite":
            after = np.median(curve.loss[event.first : event.first + 10])
            assert after > np.median(curve.loss[max(event.first - 10, 0) : event.first])


def test_coarse_curves_log_every_tenth_step_with_events_of_some_rows(curves):
    for curve in (curve for curve in curves if curve.source == "coarse"):
        assert set(np.diff(curve.steps)) == {10}
        for event in curve.events:
            assert event.last - event.first <= 8
            assert curve.loss[event.first] > 1.05 * np.median(curve.loss[event.first - 20 : event.first])
