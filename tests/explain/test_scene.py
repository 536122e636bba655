"""What is kept of a replay, where the truth is known by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from curves import healthy_run, samples
from eventful_runs import CONFIG, RUNS, explained, explanation_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain_monitor import InstabilityDetector, Sample
from pretrain_monitor.detection.alarm import Chart
from pretrain_monitor.explain.errors import ExplainError
from pretrain_monitor.explain.scene import explain
from pretrain_monitor.explain.survey import survey
from pretrain_monitor.telemetry import Change


def test_the_level_line_reaches_its_threshold_at_the_step_at_which_the_shift_was_told():
    explanation = explanation_of("level_shift")
    track, incident = explanation.tracks[0], explanation.incident
    assert 801 <= incident.onset_step <= 803
    over = track.steps[np.nan_to_num(track.level) > np.nan_to_num(track.level_threshold)]
    assert over[0] == incident.detected_step
    assert set(over) == {firing.step for firing in explanation.firings if firing.chart is Chart.LEVEL}


@pytest.mark.parametrize("run", ["level_shift", "spike", "noise_change", "second_event"])
def test_thresholds_and_scores_of_alarms_are_those_that_are_drawn(run: str):
    explanation = explanation_of(run)
    columns = {Chart.OUTLIER: ("residual", "outlier_threshold"), Chart.LEVEL: ("level", "level_threshold")}
    columns[Chart.SCALE] = ("scale", "scale_threshold")
    checked = 0
    for track in explanation.tracks:
        for firing in explanation.firings:
            if firing.signal == track.name and firing.chart in columns and not firing.rule:
                value, threshold = columns[firing.chart]
                here = track.steps == firing.step
                assert getattr(track, value)[here] == pytest.approx(firing.score)
                # The alarm itself may teach the chart's threshold nothing.
                assert getattr(track, threshold)[here] == pytest.approx(firing.threshold)
                checked += 1
    assert checked


@pytest.mark.parametrize("run", RUNS)
def test_what_opened_the_incident_is_among_its_alarms_and_comes_first(run: str):
    explanation = explanation_of(run)
    opened = explanation.told[0]
    assert opened.change is Change.OPENED
    first = explanation.counted[0]
    assert first.signal in opened.incident.evidence["charts"]
    assert first.chart in opened.incident.evidence["charts"][first.signal]
    assert opened.step - 8 <= first.step <= opened.step


def test_every_sample_of_the_window_is_there_with_its_value():
    run = healthy_run(1200, seed=1)
    run["loss"][800:] *= 1.08
    explanation = explained(list(samples(run)), "level_shift")
    for track in explanation.tracks:
        first, last = int(track.steps[0]), int(track.steps[-1])
        assert (first, last) == (explanation.first_step, explanation.last_step)
        assert track.steps.tolist() == list(range(first, last + 1))
        assert track.values.tolist() == run[track.name][first - 1 : last].tolist()


def test_band_and_residual_are_those_of_a_live_detector():
    stream = RUNS["level_shift"][0]()
    track = explanation_of("level_shift").tracks[0]
    detector = InstabilityDetector(CONFIG)
    place = 0
    for sample in stream[: int(track.steps[-1])]:
        detector.update(sample)
        if sample.step == track.steps[place]:
            reading = detector.reading("loss")
            assert reading is not None
            assert (track.lower[place], track.expected[place]) == (reading.lower, reading.expected)
            assert track.residual[place] == reading.residual
            place += 1
    assert place == len(track.steps)


def test_the_trend_before_the_incident_knows_nothing_of_it_and_segments_lie_at_the_new_level():
    explanation = explanation_of("level_shift")
    track, incident = explanation.tracks[0], explanation.incident
    at_onset = track.frozen[track.frozen_steps == incident.onset_step]
    assert at_onset == pytest.approx(incident.expected)
    after = track.values[track.steps >= 810]
    (segment,) = track.segments
    assert segment.first_step == incident.onset_step
    assert segment.first_value == pytest.approx(float(np.median(after)), rel=0.02)
    assert segment.first_value > 1.05 * at_onset


def test_a_nan_leaves_a_gap_and_is_remembered():
    explanation = explanation_of("nonfinite")
    loss, norm = explanation.tracks
    assert loss.nonfinite.tolist() == norm.nonfinite.tolist() == [601]
    assert 601 not in loss.steps
    assert math.isnan(explanation.counted[0].value)


def test_a_log_of_nothing_but_nan_is_explained_too():
    explanation = explanation_of("nan_from_the_start")
    (track,) = explanation.tracks
    assert not len(track.steps)
    assert track.nonfinite.tolist() == list(range(1, 50))


def test_before_the_charts_begin_there_is_the_reference_of_the_early_rule():
    explanation = explanation_of("early")
    assert explanation.counted[0].chart is Chart.EARLY
    assert explanation.counted[0].value > 1.3 * explanation.early_reference[explanation.early_steps == 82]
    assert not np.isfinite(explanation.tracks[0].level[explanation.tracks[0].steps < 150]).any()


def test_an_early_reference_is_what_the_losses_before_the_newest_gave():
    explanation = explanation_of("early")
    values = explanation.tracks[0].values
    assert explanation.early_reference[0] == values[0]
    assert explanation.early_reference[8] == float(np.median(values[:9]))


def test_a_dead_run_is_cut_short_and_says_so():
    explanation = explanation_of("dead")
    assert explanation.goes_on
    assert explanation.last_step < 1600


def test_half_a_long_run_of_a_plateau_keeps_its_extremes_in_bounded_memory():
    step = np.arange(2, 25_001)
    flat = np.where(step < 9_000, (step / 9_000) ** -0.06, 1.0) * np.exp(
        0.01 * np.random.default_rng(3).standard_normal(len(step))
    )
    flat[12_000] = 1.2
    stream = [Sample(int(k), {"loss": 2.5 * float(x)}) for k, x in zip(step, flat, strict=True)]
    explanation = explained(stream, "plateau")
    track = explanation.tracks[0]
    assert explanation.samples_per_pair > 1
    assert len(track.steps) < 10_000
    assert track.values.max() == 2.5 * 1.2
    assert (np.diff(track.steps) > 0).all()


def test_blocks_are_means_of_sixteen_losses():
    explanation = explanation_of("drift")
    blocks, track = explanation.blocks, explanation.tracks[0]
    assert blocks is not None
    for place in (5, 20):
        inside = (track.steps >= blocks.first_steps[place]) & (track.steps <= blocks.last_steps[place])
        assert inside.sum() == 16
        ordered = np.sort(np.log(track.values[inside]))
        assert blocks.means[place] == pytest.approx(math.exp(float(ordered[2:-2].mean())))
    told = blocks.last_steps == explanation.incident.detected_step
    assert blocks.level[told] > blocks.threshold[told]


def test_what_was_announced_takes_part():
    explanation = explanation_of("announced")
    assert not explanation.incident.is_alert
    assert explanation.incident.evidence["changes"][0]["text"] == "stage 2: code"


def test_a_rule_that_looks_at_an_open_incident_is_named():
    second = explained(RUNS["second_event"][0](), "spike")
    assert second.counted[0].rule.startswith("a second rise")
    first = explained(RUNS["second_event"][0](), "level_shift")
    assert any(firing.rule.startswith("several samples") for firing in first.counted)


def test_neighbours_in_the_window_are_named():
    spike = explained(RUNS["second_event"][0](), "spike")
    assert [other.kind for other in spike.neighbours] == ["level_shift"]


def test_samples_that_are_not_those_of_the_survey_are_refused():
    stream = RUNS["bad_batch"][0]()
    found = survey(stream, CONFIG)
    with pytest.raises(ExplainError, match="has changed while it was read"):
        explain(list(samples(healthy_run(900, seed=3))), found.incidents[0], found, CONFIG)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 50),
    at=st.integers(230, 500),
    length=st.integers(1, 80),
    size=st.floats(0.05, 3.0),
    every=st.sampled_from([1, 10]),
)
def test_any_incident_of_any_run_can_be_explained(seed: int, at: int, length: int, size: float, every: int):
    run = healthy_run(620, seed=seed)
    run["loss"][at : at + length] *= 1 + size
    run["grad_norm"][at + 3] = np.inf
    stream = [Sample(sample.step * every, sample.metrics) for sample in samples(run)]
    found = survey(stream, CONFIG)
    assert found.incidents
    for incident in found.incidents:
        explanation = explain(stream, incident, found, CONFIG)
        opened = explanation.told[0].incident.evidence["charts"]
        first = explanation.counted[0]
        assert first.chart in opened.get(first.signal, {}) or Chart.SCALE in opened[first.signal]
        if incident.kind != "plateau":
            assert explanation.first_step <= incident.onset_step <= explanation.last_step
        assert explanation.incident == incident
