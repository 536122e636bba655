from __future__ import annotations

import json
import math

import numpy as np
import pytest
from curves import ar1
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain_monitor.detection.alarm import Alarm, Chart
from pretrain_monitor.detection.bank import SignalBank


def bank(**changes: object) -> SignalBank:
    settings: dict[str, object] = {"false_alarms_per_10k": 1.0, "warmup": 200, "memory": 32}
    return SignalBank(**{**settings, **changes})  # type: ignore[arg-type]


def run(bank_: SignalBank, **series: np.ndarray) -> list[tuple[int, Alarm]]:
    """All alarms with the index of their sample."""
    found = []
    for i, row in enumerate(zip(*(values.tolist() for values in series.values()), strict=True)):
        metrics = {name: value for name, value in zip(series, row, strict=True) if not math.isnan(value)}
        found += [(i, alarm) for alarm in bank_.update(i + 1, metrics)]
    return found


def noisy(n: int, seed: int, level: float = 3.0, noise: float = 0.02, phi: float = 0.0) -> np.ndarray:
    return level * np.exp(noise * ar1(np.random.default_rng(seed), n, phi))


def test_a_level_shift_of_two_sd_is_found_within_twenty_samples():
    loss = noisy(2000, seed=0)
    loss[1500:] *= math.exp(0.04)
    alarms = [(i, a) for i, a in run(bank(), loss=loss) if a.chart is Chart.LEVEL]
    assert alarms
    assert 0 <= alarms[0][0] - 1500 < 20


def test_a_lone_outlier_is_an_outlier_alarm_at_its_own_sample_and_no_level_alarm():
    loss = noisy(2000, seed=1)
    loss[1200] *= math.exp(0.02 * 20)
    alarms = run(bank(), loss=loss)
    assert [(i, a.chart) for i, a in alarms] == [(1200, Chart.OUTLIER)]
    assert alarms[0][1].score == pytest.approx(20, rel=0.25)
    assert alarms[0][1].expected == pytest.approx(3.0, rel=0.05)


def test_noise_that_doubles_is_a_scale_alarm():
    rng = np.random.default_rng(2)
    loss = noisy(3000, seed=2)
    loss[2000:2400] = 3.0 * np.exp(0.05 * rng.standard_normal(400))
    found = [i for i, a in run(bank(), loss=loss) if a.chart is Chart.SCALE]
    assert found
    assert 0 <= found[0] - 2000 < 60


def test_a_fall_raises_nothing():
    loss = noisy(2000, seed=3)
    loss[1500:] *= 0.8
    assert [a for _, a in run(bank(), loss=loss) if a.chart is not Chart.SCALE] == []


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6])
def test_false_alarms_on_healthy_noise_stay_within_the_budget(phi: float):
    # 40,000 samples of two signals at 5 per 10,000: at most 20 expected, all charts together.
    alarms = run(
        bank(false_alarms_per_10k=5.0),
        loss=noisy(40_000, seed=4, phi=phi),
        grad_norm=noisy(40_000, seed=5, noise=0.2, phi=phi),
    )
    assert len(alarms) <= 20 + 3 * math.sqrt(20)


def test_more_alarms_come_when_more_are_asked_for():
    loss = noisy(30_000, seed=6)
    counts = [len(run(bank(false_alarms_per_10k=rate), loss=loss)) for rate in (1.0, 30.0, 300.0)]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("noise", ["laplace", "student", "lognormal"])
def test_heavy_tails_do_not_break_the_level_chart(noise: str):
    rng = np.random.default_rng(7)
    n = 40_000
    shocks = {
        "laplace": rng.laplace(size=n),
        "student": rng.standard_t(4, size=n),
        "lognormal": np.exp(0.5 * rng.standard_normal(n)) - 1.1,
    }[noise]
    alarms = run(bank(false_alarms_per_10k=2.0), loss=3.0 * np.exp(0.02 * shocks))
    assert len([a for _, a in alarms if a.chart is Chart.LEVEL]) <= 8


def test_a_non_finite_value_alarms_at_once_and_never_enters_the_state():
    clean = noisy(1200, seed=8)
    broken = np.insert(clean, [3, 30, 500], [math.inf, -math.inf, math.inf])
    one, two = bank(), bank()
    plain = run(one, loss=clean)
    found = run(two, loss=broken)
    assert [(i, a.chart) for i, a in found if a.chart is Chart.NONFINITE] == [
        (3, Chart.NONFINITE), (31, Chart.NONFINITE), (502, Chart.NONFINITE),
    ]  # fmt: skip
    rest = [a for _, a in found if a.chart is not Chart.NONFINITE]
    assert rest == [a for _, a in plain]
    assert one.band("loss") == two.band("loss")


def test_each_signal_is_judged_as_if_it_were_alone():
    loss, norm = noisy(1500, seed=9), noisy(1500, seed=10, noise=0.2)
    loss[900:950] *= 1.2
    norm[700] *= 8
    norm[::7] = math.nan  # logged less often
    together = bank()
    found = run(together, loss=loss, grad_norm=norm)
    # The budget is shared, so the lone banks must count two signals as well.
    for name, values in {"loss": loss, "grad_norm": norm}.items():
        other = "grad_norm" if name == "loss" else "loss"
        alone = bank()
        alone.update(0, {other: 1.0})
        mine = [(i, a.chart, round(a.score, 9)) for i, a in run(alone, **{name: values})]
        assert mine == [(i, a.chart, round(a.score, 9)) for i, a in found if a.signal == name]


def test_a_signal_that_starts_late_is_watched_from_its_own_start():
    late = np.full(1500, math.nan)
    late[600:] = noisy(900, seed=11)
    late[1300] *= 2
    found = run(bank(), loss=noisy(1500, seed=12), grad_norm=late)
    assert [(i, a.signal, a.chart) for i, a in found] == [(1300, "grad_norm", Chart.OUTLIER)]


def test_a_constant_series_raises_nothing_however_long_and_rounding_is_no_event():
    assert run(bank(), loss=np.full(3000, 2.5)) == []
    rounded = np.round(noisy(4000, seed=13, noise=0.004), 2)
    assert [a for _, a in run(bank(), loss=rounded) if a.chart is Chart.LEVEL] == []


def test_a_loss_near_zero_is_judged_on_a_linear_scale():
    rng = np.random.default_rng(14)
    loss = np.abs(0.02 + 0.01 * rng.standard_normal(3000))
    assert len(run(bank(), loss=loss)) <= 3
    falling = np.maximum(2.0 * np.exp(-np.arange(3000) / 300), 0.001) * np.exp(0.02 * rng.standard_normal(3000))
    charts = bank()
    run(charts, loss=falling)
    assert not charts.is_log("loss")


def test_zero_and_negative_values_are_legal():
    rng = np.random.default_rng(15)
    signal = rng.standard_normal(1000)
    signal[::50] = 0.0
    assert [a for _, a in run(bank(), reward=signal) if a.chart is Chart.NONFINITE] == []
    norm = noisy(1000, seed=16, noise=0.1)
    norm[800] = 0.0
    run(bank(), grad_norm=norm)


def test_the_band_holds_the_stated_share_of_healthy_samples():
    charts, inside = bank(), 0
    loss = noisy(5000, seed=17)
    for i, value in enumerate(loss.tolist()):
        charts.update(i + 1, {"loss": value})
        band = charts.band("loss")
        if i >= 1000:
            assert band is not None
            inside += band[1] <= value <= band[2]
    assert 0.985 < inside / 4000 < 1.0


def test_memory_does_not_grow_with_the_run():
    charts = bank()
    run(charts, loss=noisy(3000, seed=18), grad_norm=noisy(3000, seed=19))
    early = len(json.dumps(charts.state_dict()))
    run(charts, loss=noisy(9000, seed=20), grad_norm=noisy(9000, seed=21))
    assert len(json.dumps(charts.state_dict())) < 1.05 * early


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(allow_nan=True, allow_infinity=True, width=32) | st.floats(min_value=1e-3, max_value=10.0),
        min_size=0,
        max_size=400,
    ),
    st.integers(min_value=0, max_value=400),
    st.sampled_from([0, 6]),
)
def test_any_series_is_survived_and_a_restored_bank_goes_on_identically(values: list[float], cut: int, few: int):
    one = bank(warmup=96, few=few)
    for i, value in enumerate(values[:cut]):
        one.update(i, {"loss": value})
    two = bank(warmup=96, few=few)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for i, value in enumerate(values[cut:]):
        assert repr(one.update(i, {"loss": value})) == repr(two.update(i, {"loss": value}))


def test_plain_floats_and_arrays_are_the_same_detector():
    rng = np.random.default_rng(22)
    loss, norm = noisy(2500, seed=23, phi=0.3), noisy(2500, seed=24, noise=0.2)
    loss[1500:1530] *= 1.2
    loss[700] = np.inf
    norm[::9] = math.nan
    norm[2000:] *= np.exp(0.5 * rng.standard_normal(500))
    small = np.maximum(0.2 * np.exp(-np.arange(2500) / 800), 1e-3) * np.exp(0.05 * rng.standard_normal(2500))
    series = {"loss": loss, "grad_norm": norm, "aux/loss": small}
    few, many = bank(few=10), bank(few=0)
    alarms = [(i, a.signal, a.chart, round(a.score, 6)) for i, a in run(few, **series)]
    assert alarms == [(i, a.signal, a.chart, round(a.score, 6)) for i, a in run(many, **series)]
    assert len(alarms) > 4
    for name in series:
        assert few.band(name) == pytest.approx(many.band(name), rel=1e-9)


def test_a_bank_that_grows_past_a_few_signals_goes_on_without_a_seam():
    loss = noisy(1500, seed=25)
    loss[1200] *= 2
    growing, alone = bank(few=3), bank(few=3)
    for i, value in enumerate(loss.tolist()):
        extra = {f"grad_norm/block{k}": 1.0 + 0.001 * (i % 7) for k in range(5)} if i >= 800 else {}
        found = growing.update(i, {"loss": value, **extra})
        assert [(a.chart, round(a.score, 6)) for a in found if a.signal == "loss"] == [
            (a.chart, round(a.score, 6)) for a in alone.update(i, {"loss": value})
        ]
    assert growing.band("loss") == pytest.approx(alone.band("loss"), rel=1e-9)


def restless(n: int, names: int) -> dict[str, np.ndarray]:
    """Signals with rises, gaps, late starts and a scale change, as many as asked for."""
    series = {}
    for k in range(names):
        values = noisy(n, seed=30 + k, noise=0.02 * (1 + k % 4), phi=0.2 * (k % 3))
        values[n // 2 + 10 * k : n // 2 + 10 * k + 15] *= 1.5
        if k % 5 == 1:
            values[: 40 * k] = math.nan
        if k % 5 == 2:
            values[::7] = math.nan
        if k % 5 == 3:
            values -= 3.0
        series["loss" if k == 0 else f"signal/{k}"] = values
    return series


def test_many_signals_are_judged_each_as_if_it_were_among_few():
    series = restless(1500, 10)
    found = run(bank(), **series)
    assert len({alarm.signal for _, alarm in found}) == len(series)
    for name, values in series.items():
        mine = [(i, a.chart, round(a.score, 6)) for i, a in found if a.signal == name]
        assert mine == [(i, a.chart, round(a.score, 6)) for i, a in run(bank(), **{name: values})]


def test_the_order_of_the_values_in_a_sample_does_not_matter():
    series = restless(1200, 8)
    one, two = bank(), bank()
    for i, row in enumerate(zip(*(values.tolist() for values in series.values()), strict=True)):
        metrics = dict(zip(series, row, strict=True))
        turned = dict(reversed(metrics.items())) if i % 3 else metrics
        assert repr(one.update(i, metrics)) == repr(two.update(i, turned))


def test_a_restored_bank_of_many_signals_goes_on_identically():
    series = restless(1400, 9)
    rows = [dict(zip(series, row, strict=True)) for row in zip(*(v.tolist() for v in series.values()), strict=True)]
    one, two = bank(), bank()
    for i, metrics in enumerate(rows[:700]):
        one.update(i, metrics)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    alarms = 0
    for i, metrics in enumerate(rows[700:], start=700):
        found = one.update(i, metrics)
        assert repr(found) == repr(two.update(i, metrics))
        alarms += len(found)
    assert alarms
    assert one.state_dict() == two.state_dict()


@pytest.mark.parametrize("few", [0, 6])
def test_the_noise_from_before_an_event_is_put_back_to_its_signal_alone(few: int):
    charts = bank(few=few)
    loss, norm = noisy(1000, seed=40), noisy(1000, seed=41, noise=0.2)
    run(charts, loss=loss, grad_norm=norm)
    before, other = charts.noise_state("loss"), charts.noise_state("grad_norm")
    assert before is not None
    run(charts, loss=1.5 * noisy(60, seed=42, noise=0.03), grad_norm=noisy(60, seed=43, noise=0.2))
    learned, norm_learned = charts.noise_state("loss"), charts.noise_state("grad_norm")
    assert learned is not None
    assert learned[0] > 3 * before[0]
    charts.put_back("loss", before, rows=48)
    after = charts.noise_state("loss")
    assert after is not None
    # The run has become half as noisy again, and that stays; all else is as it was.
    assert after[0] == pytest.approx(0.03**2, rel=0.8)
    assert after[1:] == before[1:]
    assert charts.noise_state("grad_norm") == norm_learned != other
    charts.update(2000, {"loss": 4.5})
    band = charts.band("loss")
    assert band is not None
    assert band[0] == pytest.approx(4.5, rel=0.02)


@pytest.mark.parametrize("few", [0, 6])
def test_quiet_samples_count_for_the_thresholds_without_being_looked_at(few: int):
    charts = bank(few=few, false_alarms_per_10k=0.01)
    loss = noisy(900, seed=44)
    run(charts, loss=loss)
    early = charts.reading("loss")
    run(charts, loss=np.tile(loss[-50:], 30))
    late = charts.reading("loss")
    assert early is not None
    assert late is not None
    # Fifteen hundred samples in which nothing stood out say that this noise has a thin tail.
    assert late.outlier_threshold < early.outlier_threshold
