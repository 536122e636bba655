"""The instability zoo: its stored runs, what is said to be true of them, and that they can be trained again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection.curves import Curve, Verdict
from benchmarks.detection.zoo import faults
from benchmarks.detection.zoo.batches import batch
from benchmarks.detection.zoo.cases import CASES, HEALTHY
from benchmarks.detection.zoo.load import every_tenth, load_zoo, mean_of_ten
from benchmarks.detection.zoo.recipes import Recipe, Settings, Shape
from benchmarks.detection.zoo.storage import STORED, Telemetry, path_of, read_telemetry, write_telemetry
from benchmarks.detection.zoo.train import train
from benchmarks.detection.zoo.truth import judge, local_noise, planned_changes

CAUSES = {
    "learning_rate_too_high",
    "learning_rate_jump",
    "warmup_missing",
    "schedule_restarted",
    "corrupted_shard",
    "repeated_batch",
    "domain_switch",
    "adam_epsilon_large",
    "adam_epsilon_zero",
    "adam_beta2",
    "attention_growth",
    "half_overflow",
    "bad_rank",
    "label_shift",
    "clipping_lost",
}
FAULT_ROW = 400


@pytest.fixture(scope="module")
def zoo() -> dict[str, Curve]:
    return {curve.name: curve for curve in load_zoo()}


def planted(excess_sd: np.ndarray, *, noise: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, loss and twin's loss, where the run exceeds its twin by so many sd from the fault row on."""
    rows = FAULT_ROW + len(excess_sd)
    twin = 2 + np.exp(-np.arange(rows) / 100) + noise * np.random.default_rng(seed).standard_normal(rows)
    loss = twin.copy()
    loss[FAULT_ROW:] += noise * excess_sd
    return np.arange(1, rows + 1), loss, twin


def judged(excess_sd: np.ndarray, fault_last: int = FAULT_ROW + 1) -> list[tuple[int, int, str, str]]:
    """First and last row from the fault, kind and verdict of each event."""
    steps, loss, twin = planted(excess_sd)
    events = judge(steps, loss, twin, FAULT_ROW + 1, fault_last, "planted")
    return [(e.first - FAULT_ROW, e.last - FAULT_ROW, e.kind, e.verdict.value) for e in events]


def test_every_cause_has_three_seeds_and_a_twin_each() -> None:
    faulty = [case for case in CASES.values() if case.twin]
    seeds = Counter(case.cause for case in faulty)
    assert set(seeds) == CAUSES
    assert min(seeds.values()) >= 3
    for case in faulty:
        assert case.twin is not None
        assert case.fault_step is not None
        twin = CASES[case.twin]
        assert twin.twin is None
        assert twin.recipe.seed == case.recipe.seed
        before = range(1, case.fault_step, 37)
        assert all(twin.recipe.at(step) == case.recipe.at(step) for step in before)
        assert twin.recipe.at(case.fault_step) != case.recipe.at(case.fault_step)


def test_the_stored_zoo_is_complete_and_small(zoo: dict[str, Curve]) -> None:
    assert set(CASES) <= set(zoo)
    files = list(STORED.iterdir())
    assert {path.name for path in files} == {path_of(name).name for name in CASES}
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_healthy_runs_have_only_planned_changes_and_no_holes(zoo: dict[str, Curve]) -> None:
    for curve in zoo.values():
        if curve.source in HEALTHY:
            assert np.isfinite(curve.loss).all(), curve.name
            assert all(event.verdict is Verdict.OPTIONAL for event in curve.events), curve.name
    assert [e.group for e in zoo["sequence_stages-0"].events] == ["sequence length"] * 2
    assert [e.first for e in zoo["batch_doubled-0"].events] == [499]
    assert zoo["batch_doubled-0"].others["batch_size"][[498, 499]].tolist() == [16, 32]


def test_every_faulty_run_has_an_event_at_its_fault(zoo: dict[str, Curve]) -> None:
    for case in CASES.values():
        if case.twin:
            first = zoo[case.name].events[0]
            assert zoo[case.name].steps[first.first] == case.fault_step
            assert first.group == case.cause


def test_most_causes_show_in_the_loss(zoo: dict[str, Curve]) -> None:
    seen = {e.group for curve in zoo.values() for e in curve.events if e.verdict is Verdict.MUST}
    assert len(seen) >= 12


def test_every_run_has_the_usual_signals(zoo: dict[str, Curve]) -> None:
    for curve in zoo.values():
        assert {"grad_norm", "learning_rate", "update_rms", "param_norm"} <= set(curve.others)
        assert all(len(values) == curve.rows for values in curve.others.values())


def test_a_missing_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_zoo(tmp_path)


def test_a_spike_ends_when_the_loss_is_back_for_good() -> None:
    excess = np.zeros(500)
    excess[:40] = 10
    assert judged(excess) == [(0, 39, "spike", "must")]


def test_a_fault_that_shows_later_begins_with_the_fault() -> None:
    excess = np.zeros(500)
    excess[100:140] = 10
    assert judged(excess) == [(0, 139, "spike", "must")]


def test_what_stays_is_a_level_shift_to_the_end_of_the_run() -> None:
    assert judged(np.full(500, 8.0)) == [(0, 499, "level_shift", "must")]


def test_what_comes_back_late_is_no_spike() -> None:
    assert judged(np.r_[np.full(260, 8.0), np.zeros(200)]) == [(0, 259, "level_shift", "must")]


def test_a_slow_rise_is_a_drift_and_one_that_never_ends_a_divergence() -> None:
    ramp = np.linspace(0, 20, 150)
    assert judged(np.r_[ramp, np.full(300, 20.0)]) == [(0, 449, "drift", "must")]
    assert judged(np.linspace(0, 40, 450)) == [(0, 449, "divergence", "must")]


def test_a_loss_that_becomes_nan_at_once_is_one_event_and_later_it_is_two() -> None:
    assert judged(np.full(30, np.nan)) == [(0, 29, "nonfinite", "must")]
    bursting = np.r_[10 * 2.0 ** np.arange(12), np.full(20, np.nan)]
    assert judged(bursting) == [(0, 11, "divergence", "must"), (12, 31, "nonfinite", "must")]
    climbing = np.r_[np.linspace(1, 200, 100), np.full(20, np.nan)]
    assert judged(climbing) == [(0, 99, "divergence", "must"), (100, 119, "nonfinite", "must")]


def test_two_rows_are_not_enough_and_small_excesses_are_optional() -> None:
    two = np.zeros(500)
    two[:2] = 50
    assert judged(two) == [(0, 299, "level_shift", "optional")]
    assert judged(np.full(500, 3.0))[0][3] == "optional"
    assert judged(np.full(500, -9.0))[0][3] == "optional"


def test_a_fault_that_acts_on_unseen_is_optional_as_long_and_what_shows_later_is_not() -> None:
    excess = np.zeros(600)
    excess[400:430] = 12
    assert judged(excess, fault_last=FAULT_ROW + 600) == [
        (0, 599, "level_shift", "optional"),
        (400, 429, "spike", "must"),
    ]


def test_a_second_excursion_is_an_event_of_its_own() -> None:
    excess = np.zeros(600)
    excess[:20] = excess[400:430] = 12
    assert judged(excess) == [(0, 19, "spike", "must"), (400, 429, "spike", "must")]


def test_noise_is_measured_around_each_row_whatever_the_trend() -> None:
    rng = np.random.default_rng(1)
    loss = np.linspace(5, 1, 2000) + np.r_[np.full(1000, 0.02), np.full(1000, 0.2)] * rng.standard_normal(2000)
    noise = local_noise(loss)
    assert noise[:800].mean() == pytest.approx(0.02, rel=0.1)
    assert noise[1200:].mean() == pytest.approx(0.2, rel=0.1)
    with pytest.raises(ValueError, match="finite"):
        local_noise(np.array([1.0, np.nan, 2.0, 1.0]))


def test_a_twin_that_is_too_short_and_a_fault_behind_the_end_are_refused() -> None:
    steps, loss, twin = planted(np.zeros(50))
    with pytest.raises(ValueError, match="twin"):
        judge(steps, loss, twin[:-1], 10, 10, "x")
    with pytest.raises(ValueError, match="behind"):
        judge(steps, loss, twin, 1000, 1000, "x")


def test_planned_changes_are_named() -> None:
    recipe = Recipe(0, 500).changed(200, batch_size=32)
    (event,) = planned_changes(recipe, np.arange(1, 501))
    assert (event.first, event.last, event.group, event.verdict) == (199, 298, "batch size", Verdict.OPTIONAL)


def test_thinned_curves_keep_steps_and_means() -> None:
    values = np.arange(1.0, 36.0)
    curve = Curve("x", "x", np.arange(1, 36), values, {"grad_norm": values})
    assert mean_of_ten(curve).loss.tolist() == [5.5, 15.5, 25.5]
    assert every_tenth(curve).others["grad_norm"].tolist() == [10, 20, 30]
    assert mean_of_ten(curve).steps.tolist() == [10, 20, 30]


def test_telemetry_is_read_back_to_five_digits_and_stored_the_same_every_time(tmp_path: Path) -> None:
    telemetry = Telemetry(
        np.arange(1, 4), {"loss": np.array([2.123456, np.nan, np.inf]), "grad_norm": np.array([1e-7, 1, 2])}
    )
    for name in ("a", "b"):
        write_telemetry(tmp_path / f"{name}.csv.xz", telemetry)
    assert (tmp_path / "a.csv.xz").read_bytes() == (tmp_path / "b.csv.xz").read_bytes()
    read = read_telemetry(tmp_path / "a.csv.xz")
    np.testing.assert_allclose(read.columns["loss"], telemetry.columns["loss"], rtol=5e-5)
    np.testing.assert_allclose(read.columns["grad_norm"], telemetry.columns["grad_norm"], rtol=5e-5)


SMALL = Recipe(
    0,
    30,
    Shape(layers=1, width=16, heads=2, context=16),
    Settings(batch_size=4, sequence_length=16, warmup=5, rate=1e-2),
)


def test_training_learns_and_gives_the_same_numbers_twice() -> None:
    first, second = train(SMALL), train(SMALL)
    for name, values in first.columns.items():
        np.testing.assert_array_equal(values, second.columns[name])
    assert first.columns["loss"][0] == pytest.approx(np.log(256), abs=0.1)
    assert first.columns["loss"][-5:].mean() < 4.5


def test_a_faulty_run_is_its_twin_up_to_the_fault() -> None:
    healthy, faulty = train(SMALL), train(faults.label_shift(SMALL, 20))
    np.testing.assert_array_equal(healthy.columns["loss"][:19], faulty.columns["loss"][:19])
    assert (healthy.columns["loss"][19:] != faulty.columns["loss"][19:]).all()


def test_weights_of_ranks_weigh_their_gradients_and_not_the_logged_loss() -> None:
    healthy, faulty = train(SMALL), train(faults.bad_rank_weight(SMALL, 20, weight=40.0))
    assert faulty.columns["loss"][19] == pytest.approx(healthy.columns["loss"][19], abs=1e-6)
    assert faulty.columns["grad_norm"][19] > 5 * healthy.columns["grad_norm"][19]


def test_accumulated_microbatches_make_the_step_of_the_whole_batch() -> None:
    whole = train(replace(SMALL, steps=3))
    parts = train(replace(SMALL, steps=3, settings=replace(SMALL.settings, microbatches=4)))
    np.testing.assert_allclose(parts.columns["loss"], whole.columns["loss"], rtol=1e-5)
    np.testing.assert_allclose(parts.columns["grad_norm"], whole.columns["grad_norm"], rtol=1e-4)


def test_sixteen_bits_overflow_under_a_scale_that_is_too_large() -> None:
    half = replace(SMALL, shape=replace(SMALL.shape, half=True), settings=replace(SMALL.settings, loss_scale=1024.0))
    assert np.isfinite(train(half).columns["loss"]).all()
    overflowing = train(faults.half_overflow(half, 8, loss_scale=2.0**30))
    assert np.isfinite(overflowing.columns["loss"][:8]).all()
    assert len(overflowing.steps) == 28  # twenty steps of NaN, and it is over
    backing_off = train(replace(half, settings=replace(half.settings, loss_scale=2.0**30, scaler="dynamic")))
    assert np.isfinite(backing_off.columns["loss"]).all()
    assert backing_off.columns["loss_scale"][-1] < 2.0**30


def test_faults_of_the_data_change_the_batch_and_nothing_else_does() -> None:
    healthy = batch(SMALL, 20)
    for spoiled in (
        faults.corrupted_shard(SMALL, 20, 25, with_="random_bytes"),
        faults.corrupted_shard(SMALL, 20, 25, with_="shuffled"),
        faults.domain_switch(SMALL, 20, to="documentation"),
    ):
        assert (batch(spoiled, 20)[0] != healthy[0]).any()
        np.testing.assert_array_equal(batch(spoiled, 19)[0], batch(SMALL, 19)[0])
    repeated = faults.repeated_batch(SMALL, 20, times=5)
    for step in range(20, 25):
        np.testing.assert_array_equal(batch(repeated, step)[0], healthy[0])
    assert (batch(repeated, 25)[0] != healthy[0]).any()
    inputs, targets = batch(faults.label_shift(SMALL, 20), 20)
    np.testing.assert_array_equal(inputs[:, 2:], targets[:, :-2])


def test_an_epoch_holds_every_window_once_and_the_next_one_in_another_order() -> None:
    small = replace(SMALL, settings=replace(SMALL.settings, window_count=12))
    epochs = [np.concatenate([batch(small, 3 * k + i)[0] for i in (1, 2, 3)]) for k in (0, 1)]
    assert sorted(map(tuple, epochs[0])) == sorted(map(tuple, epochs[1]))
    assert (epochs[0] != epochs[1]).any()
    fixed = replace(small, settings=replace(small.settings, reshuffle=False))
    np.testing.assert_array_equal(batch(fixed, 1)[0], batch(fixed, 4)[0])
