from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.detection import shapes
from benchmarks.detection.curves import Curve, TrueEvent, Verdict
from benchmarks.detection.inject import clean_stretch, inject
from benchmarks.detection.local_noise import local_level, local_sd
from benchmarks.detection.quiet import quiet_run
from benchmarks.detection.scoring import window


def healthy(rows: int, *events: TrueEvent, seed: int = 0) -> Curve:
    run = quiet_run(np.random.default_rng(seed), rows).curve("mod_x", "someone/x")
    return Curve(run.name, run.source, run.steps, run.loss, run.others, events)


@pytest.fixture(scope="module")
def injected() -> list[Curve]:
    return inject([healthy(8000, seed=seed) for seed in range(4)], replicates=3)


def test_a_spike_rises_to_its_size_and_returns_to_below_one_sd_at_its_last_row():
    shape = shapes.spike(10.0, rise=4, decay=20)
    assert shape.added[:4].tolist() == [2.5, 5.0, 7.5, 10.0]
    assert shape.added[shape.last] < 1 <= shape.added[shape.last - 1]
    assert shape.kept == 0


def test_a_lasting_shift_stays_behind_its_end_and_a_passing_one_does_not():
    kept = shapes.laid(shapes.level_shift(2.0, 5, comes_back=False), 3, 12)
    passing = shapes.laid(shapes.level_shift(2.0, 5, comes_back=True), 3, 12)
    assert kept.tolist() == [0.0] * 3 + [2.0] * 9
    assert passing.tolist() == [0.0] * 3 + [2.0] * 5 + [0.0] * 4


def test_a_shape_that_does_not_fit_is_cut_at_the_end():
    assert shapes.laid(shapes.drift(4.0, 100), 8, 10).tolist() == pytest.approx([0.0] * 8 + [0.04, 0.08])


def test_local_noise_is_that_of_the_rows_around_and_ignores_outliers():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(4000) * np.repeat([1.0, 3.0], 2000)
    values[::50] += 100
    sd = local_sd(values, local_level(values))
    assert sd[1000] == pytest.approx(1.0, rel=0.15)
    assert sd[3000] == pytest.approx(3.0, rel=0.15)


def test_a_clean_stretch_avoids_possible_instabilities_and_keeps_bad_batches_as_harmless():
    must, batch = TrueEvent(2000, 2100, "spike"), TrueEvent(3000, 3000, "bad_batch", Verdict.HARMLESS)
    stretch = clean_stretch(healthy(6000, must, batch))
    assert stretch is not None
    assert stretch.steps[0] == 2152  # the row behind the window, counted from step 1
    assert stretch.events == (TrueEvent(849, 849, "bad_batch", Verdict.HARMLESS),)
    assert clean_stretch(healthy(1499)) is None
    assert clean_stretch(healthy(9000)).rows == 8000  # type: ignore[union-attr]


def test_windows_of_injected_events_do_not_overlap_and_none_is_early(injected):
    for curve in injected:
        windows = [window(event, curve.rows) for event in curve.events]
        assert len(windows) >= 5
        assert windows[0][0] > 295
        assert all(before[1] < after[0] for before, after in pairwise(windows))


def test_injection_is_the_same_for_a_seed_and_differs_between_replicates():
    first, second = inject([healthy(3000)])
    again, _ = inject([healthy(3000)])
    assert first.events == again.events and np.array_equal(first.loss, again.loss)
    assert first.events != second.events
    assert inject([healthy(3000)], seed=1)[0].events != first.events


def test_rows_before_the_first_event_are_those_of_the_real_curve():
    original = healthy(4000)
    injected = inject([original])[0]
    first = min(event.first for event in injected.events) - 10
    assert injected.loss[:first] == pytest.approx(original.loss[:first], rel=1e-12)
    assert injected.others["grad_norm"][:first] == pytest.approx(original.others["grad_norm"][:first], rel=1e-12)


def test_every_class_is_injected_with_its_amplitude_and_verdict(injected):
    events = [event for curve in injected for event in curve.events]
    sizes = {
        "spike": (10, 40),
        "small_spike": (4, 10),
        "level_shift": (1.5, 4),
        "drift": (3, 10),
        "slow_drift": (3, 10),
    }
    groups = {event.group for event in events}
    assert groups == {*sizes, "divergence", "noise_change", "plateau"}
    for event in events:
        low, high = sizes.get(event.group, (0, math.inf))
        assert low <= event.size <= high
        optional = event.group in ("noise_change", "plateau")
        assert event.verdict is (Verdict.OPTIONAL if optional else Verdict.MUST)


def test_a_level_shift_raises_the_loss_by_its_size_in_local_sd():
    original = healthy(8000)
    x = np.log(original.loss)
    sd = local_sd(x, local_level(x))
    shifts = 0
    for curve in inject([original], replicates=4):
        added = np.log(curve.loss) - x
        for event in (event for event in curve.events if event.group == "level_shift"):
            step = added[event.first] - added[event.first - 1]
            assert step == pytest.approx(
                event.size * sd[event.first], rel=0.02
            )  # what an earlier spike left still falls
            shifts += 1
    assert shifts
