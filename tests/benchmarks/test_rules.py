"""The re-implemented rules of the field: on hand-made curves, with limits worked out by hand.

Most curves alternate between 2 and 4: mean 3, population deviation 1, median 3, median absolute deviation 1.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.detection import rules
from benchmarks.detection.curves import Adjustable, Baseline, Curve, Finding
from benchmarks.detection.matched import is_adjustable
from benchmarks.detection.rules_offline import Gradsnitch, Losslint, Runmedic, Trainspotter
from benchmarks.detection.rules_ratio import (
    Forgather,
    KillLossSpike,
    SkipSpike,
    SpikeDetection,
    SpikyLossDetector,
    UnexpectedlyLarge,
)
from benchmarks.detection.rules_reference import DetrendedMad, NanOnly, ZScore
from benchmarks.detection.rules_sigma import (
    LevanterSkipStep,
    LlmcOutlierDetector,
    SkipStepOptimizer,
    StabilityMonitor,
    WandbZScore,
    ZClip,
)
from benchmarks.detection.rules_tools import Llmreport, Trainpulse
from benchmarks.detection.rules_trainscope import TrainscopeCusum, TrainscopePercentile, TrainscopeZScore
from benchmarks.detection.rules_windows import mean_and_sd, median_and_mad, trailing

NAN, INF = float("nan"), float("inf")

Values = Sequence[float] | NDArray[np.float64]


def curve(loss: Values, *, interval: int = 1, **others: Values) -> Curve:
    steps = np.arange(len(loss)) * interval
    return Curve("hand", "hand", steps, np.array(loss, float), {k: np.array(v, float) for k, v in others.items()})


def waves(rows: int) -> list[float]:
    return [2.0, 4.0] * (rows // 2) + [2.0] * (rows % 2)


def alerts(detector: Baseline, loss: Values, *, interval: int = 1, **others: Values) -> list[int]:
    return [f.row for f in detector.detect(curve(loss, interval=interval, **others)) if f.is_alert]


def fires(detector: Baseline, before: Values, value: float) -> bool:
    """Whether it fires on a value after others, on which it has to be silent."""
    rows = alerts(detector, [*before, value])
    assert rows in ([], [len(before)])
    return bool(rows)


# What holds of all


@pytest.fixture(params=rules.baselines(), ids=lambda detector: detector.name)
def detector(request: pytest.FixtureRequest) -> Baseline:
    found: Baseline = request.param
    return found


def noisy(rows: int, seed: int = 0) -> Curve:
    rng = np.random.default_rng(seed)
    loss = 3 + 5 * np.exp(-np.arange(rows) / 60) + 0.05 * rng.standard_t(4, rows)
    loss[rows // 2 :: 97] += 4
    norm = np.exp(0.2 * rng.standard_normal(rows))
    norm[rows // 3 :: 89] *= 30
    return curve(loss, grad_norm=norm, learning_rate=np.full(rows, 1e-3))


def test_names_are_unique() -> None:
    names = [detector.name for detector in rules.baselines()]
    assert len(set(names)) == len(names)


def test_every_curve_starts_afresh_and_alerts_come_in_order(detector: Baseline) -> None:
    long, other = noisy(900), noisy(300, seed=1)
    first = detector.detect(long)
    detector.detect(other)
    assert detector.detect(long) == first
    assert [f.row for f in first] == sorted(f.row for f in first)
    assert all(0 <= f.row < 900 for f in first)


def test_a_detector_can_be_sent_to_another_process(detector: Baseline) -> None:
    copy = pickle.loads(pickle.dumps(detector))
    assert copy.name == detector.name
    assert copy.detect(noisy(400)) == detector.detect(noisy(400))


@pytest.mark.parametrize("detector", [d for d in rules.baselines() if is_adjustable(d)], ids=lambda d: d.name)
def test_the_default_is_among_the_limits_from_most_to_least_sensitive(detector: Adjustable) -> None:
    assert list(detector.limits) == sorted(set(detector.limits))
    assert detector in [detector.with_limit(limit) for limit in detector.limits]
    run = noisy(600)
    run.loss[-40:] *= 4
    most, least = (detector.with_limit(limit).detect(run) for limit in (detector.limits[0], detector.limits[-1]))
    assert most != least
    assert len(least) <= len(most)


def test_another_limit_leaves_the_rest_of_a_rule_as_it_is() -> None:
    assert ZScore(on_log=True).with_limit(5.0) == ZScore(limit=5.0, on_log=True)
    errors = Trainspotter(errors_only=True).with_limit(7.0)
    assert (errors.limit, errors.errors_only, errors.name) == (7.0, True, "trainspotter, errors")


@pytest.mark.parametrize("value", [0.0, 2.0, NAN, INF, -INF, 1e300], ids=str)
@pytest.mark.parametrize("rows", [1, 30, 250])
def test_constants_of_any_kind_are_no_trouble(detector: Baseline, value: float, rows: int) -> None:
    found = detector.detect(curve([value] * rows, grad_norm=[value] * rows, learning_rate=[value] * rows))
    assert all(0 <= f.row < rows for f in found)
    if value == 2.0:
        assert {f.kind for f in found} <= {"plateau"}


def test_strange_values_among_usual_ones_are_no_trouble(detector: Baseline) -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        loss, norm = 3 + rng.standard_normal(400), np.exp(rng.standard_normal(400))
        for signal in (loss, norm):
            signal[rng.integers(0, 400, 20)] = rng.choice([NAN, INF, -INF, 0.0, 1e30, -1e30, 1e-30], 20)
        rows = [finding.row for finding in detector.detect(curve(loss, grad_norm=norm, learning_rate=norm))]
        assert rows == sorted(rows)
        assert all(0 <= row < 400 for row in rows)


def test_windows_are_those_before_the_row() -> None:
    values = np.random.default_rng(1).standard_normal(50)
    mean, sd = trailing(values, 8, mean_and_sd, least=3)
    assert np.isnan(mean[:3]).all()
    for row in range(3, 50):
        before = values[max(0, row - 8) : row]
        assert (mean[row], sd[row]) == pytest.approx((before.mean(), before.std()))
    median, _ = trailing(values, 8, median_and_mad, least=1, with_own=True)
    assert median == pytest.approx([np.median(values[max(0, row - 7) : row + 1]) for row in range(50)])


# Standard deviations


def test_stability_monitor_fires_above_six_population_deviations_of_a_full_window() -> None:
    assert not fires(StabilityMonitor(), waves(128), 8.99)
    assert fires(StabilityMonitor(), waves(128), 9.01)
    assert not fires(StabilityMonitor(), waves(127), 900.0)
    assert not fires(StabilityMonitor(), waves(128), -900.0)
    assert not fires(StabilityMonitor(), [3.0] * 128, 900.0)  # no spread, no judgement


def test_stability_monitor_is_blinded_by_the_spike_it_took_in() -> None:
    assert alerts(StabilityMonitor(), [*waves(128), 100.0, *waves(9), 20.0]) == [128]


def test_stability_monitor_is_blind_to_norms_for_128_rows_after_a_nan() -> None:
    norm = [*waves(128), NAN, *waves(300)]
    for row in (129 + 126, 129 + 128):
        spiked = list(norm)
        spiked[row] = 50.0
        assert alerts(StabilityMonitor(), [3.0] * len(norm), grad_norm=spiked) == ([] if row < 257 else [row])


def test_a_nan_loss_ends_a_run_of_olmo_and_of_levanter() -> None:
    for detector in (StabilityMonitor(), LevanterSkipStep()):
        found = detector.detect(curve([3.0, NAN, 3.0]))
        assert found == [Finding(1, kind="nonfinite")]


def test_skip_step_counts_unbiased_deviations_from_the_64th_value_on() -> None:
    # 6 * sqrt(128 / 127) = 6.0236
    assert not fires(SkipStepOptimizer(), waves(128), 9.02)
    assert fires(SkipStepOptimizer(), waves(128), 9.03)
    assert not fires(SkipStepOptimizer(), waves(62), 900.0)
    assert fires(SkipStepOptimizer(), waves(63), 900.0)


def test_skip_step_skips_129_steps_for_one_nan() -> None:
    loss = [*waves(200), NAN, *waves(300)]
    assert alerts(SkipStepOptimizer(), loss) == list(range(200, 329))
    assert alerts(SkipStepOptimizer(), waves(501), grad_norm=loss) == list(range(200, 329))


def test_levanter_skips_a_nan_alone_and_sees_the_spike_after_it() -> None:
    norm = [*waves(200), NAN, 30.0, *waves(20)]
    assert alerts(LevanterSkipStep(), waves(len(norm)), grad_norm=norm) == [200, 201]
    assert not fires(LevanterSkipStep(), waves(63), 900.0)
    assert fires(LevanterSkipStep(), waves(64), 900.0)


def test_levanter_has_a_floor_under_the_deviation() -> None:
    assert not fires(LevanterSkipStep(), [3.0] * 100, 3 + 5e-6)
    assert fires(LevanterSkipStep(), [3.0] * 100, 3 + 7e-6)


def test_llmc_gives_in_to_a_new_level_after_eight_outliers() -> None:
    # The first two are taken out again. With k of 64 at the new level z = sqrt((64 - k) / k), above 3 up to k = 6.
    loss = [*waves(64), *[1000.0] * 30]
    assert alerts(LlmcOutlierDetector(), loss) == list(range(64, 72))
    assert not fires(LlmcOutlierDetector(), waves(63), 1000.0)


def test_llmc_is_dead_after_a_nan() -> None:
    assert alerts(LlmcOutlierDetector(), [*waves(100), NAN, *waves(300), 1000.0]) == []


def test_wandb_fires_in_both_directions_beyond_three_deviations_of_thirty() -> None:
    assert fires(WandbZScore(), waves(30), 6.01)
    assert fires(WandbZScore(), waves(30), -0.01)
    assert not fires(WandbZScore(), waves(30), 5.99)
    assert not fires(WandbZScore(), waves(29), 100.0)
    assert not fires(WandbZScore(), waves(40), NAN)


def test_zclip_clips_above_two_and_a_half_deviations_and_dies_of_a_nan() -> None:
    # 24 norms of 2 and 4 and a 3: mean 3, deviation sqrt(24/25) = 0.9798, bound 3 + 2.4495.
    norm = [*waves(24), 3.0]
    loss = [1.0] * 26
    assert alerts(ZClip(), loss, grad_norm=[*norm, 5.4]) == []
    assert alerts(ZClip(), loss, grad_norm=[*norm, 5.5]) == [25]
    assert alerts(ZClip(), [1.0] * 27, grad_norm=[*norm, NAN, 1000.0]) == []
    assert alerts(ZClip(), [*waves(100), 1000.0]) == []  # no norm, no rule


def test_z4_takes_no_nonfinite_value_into_its_window() -> None:
    assert not fires(ZScore(), waves(100), 6.99)
    assert fires(ZScore(), waves(100), 7.01)
    assert alerts(ZScore(), [*waves(100), NAN, 100.0]) == [100, 101]
    assert not fires(ZScore(), waves(29), 100.0)


def test_z4_of_the_log_judges_ratios() -> None:
    # log 2 and log 4: mean log(2 sqrt 2), deviation log(2)/2; four of them are a factor of 4: 2.83 * 4 = 11.31.
    assert not fires(ZScore(on_log=True), waves(100), 11.2)
    assert fires(ZScore(on_log=True), waves(100), 11.4)


# Ratios


def test_kill_loss_spike_needs_five_outliers_in_a_row() -> None:
    base = [1.0] * 100
    assert alerts(KillLossSpike(), [*base, *[2.5] * 4, 1.0, *[2.5] * 4, 1.0]) == []
    assert alerts(KillLossSpike(), [*base, *[2.5] * 6, 1.0]) == [104, 105]
    assert alerts(KillLossSpike(), [*base[:99], *[2.5] * 5]) == []  # four of the five are judged


def test_kill_loss_spike_calls_a_loss_above_ten_high_from_twice_its_window_on() -> None:
    assert alerts(KillLossSpike(), [11.0] * 220) == list(range(199, 220))
    assert alerts(KillLossSpike(), [9.9] * 220) == []


def test_kill_loss_spike_is_blind_while_a_nan_is_in_the_window() -> None:
    assert alerts(KillLossSpike(), [*[1.0] * 100, NAN, *[1.0] * 90, *[30.0] * 9]) == []


def test_kill_loss_spike_takes_five_percent_of_a_long_run() -> None:
    loss = [1.0] * 4000
    loss[150:160] = [50.0] * 10
    loss[300:310] = [50.0] * 10
    assert alerts(KillLossSpike(), loss) == list(range(304, 310))  # W = 200: the first burst is not judged


def test_megatron_compares_with_the_largest_of_the_hundred_after_the_first() -> None:
    base = [1000.0, *[1.0] * 100]
    assert alerts(UnexpectedlyLarge(), [*base, 9.99, 10.0, -10.0, 9.99, 10.0]) == [102, 103, 105]
    assert alerts(UnexpectedlyLarge(), [*base[:-1], 50.0, 50.0]) == []
    assert alerts(UnexpectedlyLarge(), [NAN, *base[1:], INF, 10.0]) == [0, 101, 102]


def test_metaseq_keeps_a_spike_out_of_its_average_and_dies_of_a_nan() -> None:
    # 1.2 makes the average 1.04, whose 1.25 times is 1.3.
    assert alerts(SkipSpike(1.25), [1.0, 1.26, 1.26, 1.2, 1.29, 9.0]) == [1, 2, 5]
    assert alerts(SkipSpike(1.25), [1.0, NAN, 9.0, 90.0]) == []


def test_lightning_fires_at_three_times_the_mean_and_for_ever_after_a_shift() -> None:
    assert alerts(SpikeDetection(), [1.0] * 5 + [2.99]) == []
    assert alerts(SpikeDetection(), [1.0] * 5 + [3.0] * 40) == list(range(5, 45))
    assert alerts(SpikeDetection(), [1.0] * 5 + [NAN, 1.0, INF, 3.0]) == [5, 7, 8]
    assert alerts(SpikeDetection(), [NAN, 1.0, 5.0]) == [2]  # the first batch is not judged


def test_flagscale_fires_for_ever_after_a_rise_by_a_fifth_and_lets_nan_in() -> None:
    assert alerts(SpikyLossDetector(), [1.0, 1.19, 1.19]) == []
    assert alerts(SpikyLossDetector(), [1.0, *[1.2] * 30]) == list(range(1, 31))
    assert alerts(SpikyLossDetector(), [1.0, INF, NAN, 5.0, 5.9, 7.2]) == [1, 5]


def test_forgather_fires_at_the_third_average_a_nat_above_the_best() -> None:
    # From 1 to 3 the average goes 1.6, 2.02, 2.314, 2.52: the second is the first that is 1 above.
    assert alerts(Forgather(), [*[1.0] * 12, *[3.0] * 4]) == [15]
    assert alerts(Forgather(), [*[1.0] * 12, *[3.0] * 3, 0.0]) == []
    assert alerts(Forgather(), [*[1.0] * 12, 9.0, 1.0, 1.0, 1.0]) == [14]  # 3.4, 2.68, 2.176: one row is enough
    assert alerts(Forgather(), [*[1.0] * 3, NAN, 1.0]) == [3]


def test_nan_only_sees_either_signal_and_nothing_else() -> None:
    assert alerts(NanOnly(), [1.0, 1e9, NAN, INF], grad_norm=[NAN, 1e9, 1.0, 1.0]) == [0, 2, 3]


# Medians, quantiles and cumulative sums


def test_trainscope_changepoint_sums_up_deviations_on_both_sides() -> None:
    # z = (x - 3) / 1.4826; one of 7 is 6 above the slack. Waves themselves stay at z = 0.67.
    assert not fires(TrainscopeCusum(), waves(30), 3 + 6.99 * 1.4826)
    assert fires(TrainscopeCusum(), waves(30), 3 + 7.01 * 1.4826)
    assert fires(TrainscopeCusum(), waves(30), 3 - 7.01 * 1.4826)
    assert not fires(TrainscopeCusum(), waves(29), 3 + 100.0)
    assert alerts(TrainscopeCusum(), [*[2.0, 3.0, 4.0] * 66, 3.0, *[3 + 3.01 * 1.4826] * 3]) == [201]


def test_trainscope_is_silent_on_nan_and_sees_what_follows() -> None:
    for detector in (TrainscopeCusum(), TrainscopeZScore(), TrainscopePercentile()):
        assert alerts(detector, [*[3.0, 2.0, 4.0] * 20, NAN, INF, 900.0]) == [62]


def test_trainscope_z_score_fires_on_both_sides_and_after_no_spread() -> None:
    # 3.5 * sqrt(30 / 29) = 3.5598
    assert not fires(TrainscopeZScore(), waves(30), 6.55)
    assert fires(TrainscopeZScore(), waves(30), 6.57)
    assert fires(TrainscopeZScore(), waves(30), -0.57)
    assert fires(TrainscopeZScore(), [3.0] * 30, 3.0001)


def test_trainscope_percentile_fires_outside_the_middle_98_percent() -> None:
    # Of 0 to 99 in an order that keeps the prefixes wide: percentiles .99 and 98.01.
    values = [0.0, 99.0] * 15 + [float(x) for x in range(1, 99)]
    run = [*values, *[50.0] * 71]
    low, high = np.percentile(run[-1:-200:-1], [1, 99])
    assert alerts(TrainscopePercentile(), [*run, high + 0.1])[-1] == len(run)
    assert alerts(TrainscopePercentile(), [*run, low - 0.1])[-1:] == [len(run)]
    assert alerts(TrainscopePercentile(), [*run, 50.0])[-1:] != [len(run)]


def test_detrended_mad_looks_off_the_line_of_a_descent() -> None:
    noise = 0.1 * np.random.default_rng(3).standard_normal(65)
    descent = 20 - 0.2 * np.arange(65) + noise
    raised = descent.copy()
    raised[64] += 3.0  # 30 deviations above the line, yet far below the median of the window
    assert raised[64] < np.median(descent[:64])
    assert alerts(DetrendedMad(), raised)[-1:] == [64]
    assert alerts(DetrendedMad(), descent) == []
    assert alerts(DetrendedMad(), [*descent[:64], NAN, raised[64]]) == [64, 65]


# Live tools of several rules


def test_llmreport_has_a_floor_of_a_quarter_of_the_median() -> None:
    assert not fires(Llmreport(), waves(50), 8.99)
    assert fires(Llmreport(), waves(50), 9.01)
    assert not fires(Llmreport(), [4.0] * 50, 4.99)
    assert fires(Llmreport(), [4.0] * 50, 5.01)
    assert not fires(Llmreport(), waves(49), 900.0)


def test_llmreport_is_blind_for_fifty_rows_after_a_nan_and_repeats_a_lasting_one_every_ten_steps() -> None:
    for rows_after, is_seen in ((49, False), (50, True)):
        loss = [*waves(60), NAN, *waves(rows_after), 100.0]
        assert alerts(Llmreport(), loss) == ([60, 61 + rows_after] if is_seen else [60])
    assert alerts(Llmreport(), [*waves(60), *[NAN] * 25]) == [60, 70, 80]


def test_llmreport_counts_its_cooldown_in_steps() -> None:
    loss = [*waves(100), *[30.0] * 12]
    assert alerts(Llmreport(), loss) == [100]
    assert alerts(Llmreport(), loss, interval=10) == [100, 105, 110]


def test_llmreport_watches_the_norm_for_tenfold_and_for_nothing() -> None:
    norm = [*[1.0] * 60, 9.9, 10.1, *[1e-8] * 5, 1.0]
    assert alerts(Llmreport(), [3.0] * len(norm), grad_norm=norm) == [61, 64]


def test_trainpulse_fires_at_its_fixed_numbers() -> None:
    quiet = Trainpulse(with_plateau=False)
    assert not fires(quiet, [1.0] * 50, 4.99)
    assert fires(quiet, [1.0] * 50, 5.01)
    assert not fires(quiet, [1.0] * 49, 500.0)
    assert alerts(quiet, [1.0] * 6, grad_norm=[100.0, 100.1, 0.0, 9e-8, 1.1e-7, INF]) == [1, 3, 5]
    assert alerts(quiet, [1.0] * 6, learning_rate=[0.0, 1.0, 10.0, 101.0, 101.0, 10.0]) == [3, 5]


def test_trainpulse_is_blind_to_spikes_for_fifty_rows_after_a_nan() -> None:
    assert alerts(Trainpulse(with_plateau=False), [*[1.0] * 50, NAN, *[1.0] * 49, 90.0]) == [50]
    assert alerts(Trainpulse(with_plateau=False), [*[1.0] * 50, NAN, *[1.0] * 50, 90.0]) == [50, 101]


def test_trainpulse_tells_a_plateau_once_until_the_next_improvement() -> None:
    loss = [3.0, *[3.0] * 250, 2.0, *[2.5] * 120]
    assert [f for f in Trainpulse().detect(curve(loss)) if f.kind == "plateau"] == [
        Finding(100, kind="plateau"),
        Finding(351, kind="plateau"),
    ]


# Readers of finished logs


def test_trainspotter_counts_its_own_value_and_fires_both_ways() -> None:
    # With ten 2s, ten 4s and x above: median 4, MAD 2, z = 0.6745 (x - 4) / 2.
    spikes = Trainspotter()
    assert alerts(spikes, [*waves(40), 21.7]) == []
    assert alerts(spikes, [*waves(40), 21.9]) == [40]
    assert alerts(spikes, [*waves(40), -15.9]) == [40]  # median 2


def test_trainspotter_calls_it_an_error_from_ten_point_eight() -> None:
    errors = Trainspotter(errors_only=True)
    assert alerts(errors, [*waves(40), 36.0]) == []
    assert alerts(errors, [*waves(40), 36.1]) == [40]


def test_trainspotter_makes_one_finding_of_a_run_with_gaps_of_one_row() -> None:
    loss = [*waves(60), 50.0, 3.0, 90.0, 3.0, 3.0, 3.0, 50.0, *waves(20)]
    assert Trainspotter().detect(curve(loss)) == [
        Finding(62, onset=60, kind="spike"),
        Finding(66, onset=66, kind="spike"),
    ]


def test_trainspotter_tells_the_first_nan_and_is_blind_for_the_twenty_values_after_it() -> None:
    for detector in (Trainspotter(), Trainspotter(errors_only=True)):
        assert alerts(detector, [*waves(60), NAN, *waves(19), 900.0, *waves(30)]) == [60]
        assert alerts(detector, [*waves(60), NAN, *waves(20), 900.0, *waves(30)]) == [60, 81]


def test_trainspotter_finds_a_last_quarter_that_rises_to_one_and_a_half_times_the_minimum() -> None:
    rng = np.random.default_rng(0)
    for top, found in ((2.5, [150]), (1.2, [])):
        loss = np.concatenate([np.full(150, 1.0), np.linspace(1, top, 50)]) + 0.05 * rng.standard_normal(200)
        loss[-1] = top
        told = [f.row for f in Trainspotter().detect(curve(loss)) if f.kind == "divergence"]
        assert told == found


def test_losslint_needs_ten_times_the_median_of_its_neighbours() -> None:
    assert alerts(Losslint(), [*[1.0] * 20, 10.0, *[1.0] * 20]) == []
    assert alerts(Losslint(), [*[1.0] * 20, 10.1, *[1.0] * 20]) == [20]
    assert alerts(Losslint(), [*[1.0] * 5, 11.0]) == [5]
    assert alerts(Losslint(), [*[1.0] * 4, 11.0]) == []
    assert alerts(Losslint(), [*[1.0] * 20, *[50.0] * 12, *[1.0] * 20]) == list(range(20, 32))
    assert alerts(Losslint(), [1.0, NAN, NAN, *[1.0] * 20, 90.0]) == [1, 2, 23]


def test_losslint_tells_the_first_five_nonfinite_values_of_each_signal() -> None:
    loss = [1.0] * 40
    norm = [1.0] * 40
    for row in range(6):
        loss[2 * row], norm[20 + 2 * row] = NAN, INF
    assert alerts(Losslint(), loss, grad_norm=norm) == [0, 2, 4, 6, 8, 20, 22, 24, 26, 28]


def falling(rows: int) -> NDArray[np.float64]:
    """From 2 to 1 with little noise."""
    return np.linspace(2, 1, rows) + 0.005 * np.random.default_rng(2).standard_normal(rows)


def test_runmedic_alerts_of_three_spikes_or_of_one_above_three_times_and_notes_others() -> None:
    loss = falling(400)
    loss[[100, 200]] *= 2
    assert [(f.row, f.is_alert) for f in Runmedic().detect(curve(loss))] == [(100, False), (200, False)]
    loss[300] *= 2
    assert alerts(Runmedic(), loss) == [100, 200, 300]
    loss = falling(400)
    loss[300] *= 3.2
    assert alerts(Runmedic(), loss) == [300]
    loss[300] *= 1.4 / 3.2  # below 1.5 times the trend, however many deviations
    assert alerts(Runmedic(), loss) == []


def test_runmedic_reports_no_spike_after_a_nan_nor_in_the_tenth_before_it() -> None:
    loss = falling(600)
    loss[[100, 350, 500]] = 9.0
    assert alerts(Runmedic(), loss) == [100, 350, 500]
    loss[380] = NAN
    assert alerts(Runmedic(), loss) == [100, 380]


def test_runmedic_places_a_divergence_at_the_best_and_judges_norms_after_the_first_twentieth() -> None:
    loss = np.concatenate([np.linspace(5, 1, 200), np.linspace(1, 4, 200)])
    found = Runmedic().detect(curve(loss))
    assert [f.kind for f in found] == ["divergence"]
    assert found[0].row == pytest.approx(200, abs=20)
    norm = np.ones(200)
    norm[[5, 50]] = 10.5
    assert alerts(Runmedic(), falling(200), grad_norm=norm) == [50]


def test_gradsnitch_tells_each_of_its_rules_once() -> None:
    norm = np.ones(100)
    norm[[5, 40, 60]] = 8.1
    norm[30:32] = NAN  # not logged, to it
    assert alerts(Gradsnitch(), falling(100), grad_norm=norm) == [40]
    norm[70:73] = INF
    assert alerts(Gradsnitch(), falling(100), grad_norm=norm) == [40, 70]
    loss = falling(100)
    loss[[20, 30]] = 90.0
    assert alerts(Gradsnitch(), loss) == []
    loss[50:55] = NAN
    assert alerts(Gradsnitch(), loss) == [50]


def test_gradsnitch_finds_a_lasting_rise_and_no_last_spike() -> None:
    loss = np.concatenate([np.linspace(5, 1, 200), np.linspace(1, 2, 100)])
    found = Gradsnitch().detect(curve(loss))
    assert [f.kind for f in found] == ["divergence"]
    assert 195 <= found[0].row <= 215
    assert alerts(Gradsnitch(), [*falling(200), 60.0, 60.0]) == []
