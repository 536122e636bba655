from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain_monitor.viewing.series import Series

SPIKES = 34


def series_of(values: np.ndarray, first: int = 1) -> Series:
    series = Series()
    series.extend(np.arange(first, first + len(values)), values)
    return series


@pytest.mark.parametrize("rows", [900, 20_000, 300_000])
def test_every_one_step_spike_is_drawn_at_full_width(rows: int):
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 0.05, rows)
    # One to a column: of two in one column of pixels nobody could see the lower one.
    spikes = np.sort(rng.choice(rows // 12, SPIKES, replace=False) * 12 + 5)
    values[spikes] += 1.0
    drawn = series_of(values).draw(1, rows, columns=800)
    assert len(drawn.steps) <= 2 * 801 + 4
    columns = (spikes + 1) // max(series_of(values).bucket(1, rows, 800), 1)
    hidden = set(spikes + 1) - set(drawn.steps.tolist())
    shared = {int(s) + 1 for s, c in zip(spikes, columns, strict=True) if np.sum(columns == c) > 1}
    assert hidden <= shared
    assert len(shared) < SPIKES / 2


def test_a_short_stretch_is_drawn_row_by_row_with_the_neighbours_beyond_its_edges():
    drawn = series_of(np.arange(1000.0)).draw(401, 600, columns=100)
    assert drawn.steps.tolist() == list(range(400, 602))
    assert drawn.values.tolist() == [step - 1.0 for step in range(400, 602)]


def test_what_is_not_finite_is_a_gap_and_is_never_lost():
    values = np.ones(200_000)
    values[[70_000, 70_001, 150_000]] = [np.nan, np.inf, -np.inf]
    drawn = series_of(values).draw(1, 200_000, columns=500)
    assert {70_001, 150_001} <= set(drawn.nonfinite.tolist())
    assert np.isnan(drawn.values[np.isin(drawn.steps, drawn.nonfinite)]).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-10, 10) | st.sampled_from([np.nan, np.inf]), min_size=1, max_size=400),
    st.integers(1, 30),
    st.integers(0, 50),
)
def test_each_column_has_the_smallest_and_the_largest_value_of_its_steps(values: list[float], columns: int, start: int):
    series = series_of(np.array(values))
    first, last = min(start + 1, len(values)), len(values)
    drawn = series.draw(first, last, columns)
    assert (np.diff(drawn.steps) > 0).all()
    bucket = max(series.bucket(first, last, columns), 1)
    for column in range(first // bucket, last // bucket + 1):
        steps = list(range(max(first, column * bucket), min(last, (column + 1) * bucket - 1) + 1))
        finite = [values[s - 1] for s in steps if np.isfinite(values[s - 1])]
        shown = drawn.values[np.isin(drawn.steps, steps)]
        shown = shown[np.isfinite(shown)]
        if finite:
            assert shown.min() == min(finite)
            assert shown.max() == max(finite)


def test_what_is_cut_off_and_written_again_is_drawn_as_if_it_had_been_written_once():
    rng = np.random.default_rng(1)
    values = rng.normal(size=300_000)
    series = series_of(np.concatenate([values[:200_000], np.full(50_000, 99.0)]))
    series.draw(1, 250_000, columns=100)
    series.cut(200_000)
    series.extend(np.arange(200_001, 300_001), values[200_000:])
    again, once = series.draw(1, 300_000, columns=100), series_of(values).draw(1, 300_000, columns=100)
    assert again.steps.tolist() == once.steps.tolist()
    assert again.values.tolist() == once.values.tolist()


def test_thinning_halves_the_rows_and_keeps_spikes_and_what_is_not_finite():
    values = np.random.default_rng(2).normal(size=100_000)
    values[[1000, 50_000]] = [50.0, np.nan]
    series = series_of(values)
    before = series.draw(1, 100_000, columns=50)
    series.thin()
    series.thin()
    assert len(series) < 50_000
    assert series.samples_per_pair == 8
    after = series.draw(1, 100_000, columns=50)
    assert 1001 in after.steps
    assert after.nonfinite.tolist() == [50_001]
    assert np.nanmax(after.values) == np.nanmax(before.values)
    assert (np.diff(series.steps) > 0).all()


def test_rows_one_by_one_and_in_blocks_are_the_same():
    one, many = Series(), Series()
    values = np.random.default_rng(3).normal(size=5000)
    for step, value in enumerate(values):
        one.append(step, value)
    for start in range(0, 5000, 700):
        many.extend(np.arange(start, min(start + 700, 5000)), values[start : start + 700])
    assert one.steps.tolist() == many.steps.tolist()
    assert one.values.tolist() == many.values.tolist()
    assert one.last == (4999, values[-1])


@pytest.mark.parametrize("follow", [None, 3000])
def test_what_is_new_behind_what_was_drawn_is_what_would_be_drawn_at_once(follow: int | None):
    rng = np.random.default_rng(5)
    series, steps, values, grain = Series(), [], [], -1
    sizes: list[int] = []
    step = 0
    while step < 24_000:  # beyond that the extremes of blocks stand for their rows
        count = int(rng.integers(1, 400))
        series.extend(np.arange(step + 1, step + 1 + count), rng.normal(size=count))
        step += count
        first = 1 if follow is None else max(1, step - follow)
        bucket = series.bucket(first, step, 100)
        drawn = series.draw(first, step, 100, since=steps[-1] if bucket == grain else None)
        if drawn.start is None:
            steps, values = drawn.steps.tolist(), drawn.values.tolist()
        else:
            kept = [at for at, one in enumerate(steps) if one < drawn.start]
            steps = [steps[at] for at in kept] + drawn.steps.tolist()
            values = [values[at] for at in kept] + drawn.values.tolist()
            sizes.append(len(drawn.steps))
        grain = bucket
        if follow is None:
            whole = series.draw(1, step, 100)
            assert steps == whole.steps.tolist()
            assert values == whole.values.tolist()
        else:
            shown = {one: value for one, value in zip(steps, values, strict=True) if one >= first + 2 * max(bucket, 1)}
            whole = series.draw(first, step, 100)
            wanted = dict(zip(whole.steps.tolist(), whole.values.tolist(), strict=True))
            assert shown == {one: value for one, value in wanted.items() if one in shown or one >= first + 2 * bucket}
    assert np.median(sizes) < 0.2 * len(steps)
