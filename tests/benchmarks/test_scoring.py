from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.detection.bootstrap import intervals
from benchmarks.detection.curves import Curve, Finding, TrueEvent, Verdict
from benchmarks.detection.scoring import Falses, Outcome, Score, f1, precision, recall, score, total, window


def curve(*events: TrueEvent, rows: int = 1000) -> Curve:
    return Curve("c", "s", np.arange(rows), np.ones(rows), events=events)


def alerts(*rows: int) -> list[Finding]:
    return [Finding(row) for row in rows]


def test_a_window_reaches_five_rows_before_and_fifty_or_a_fifth_of_the_length_behind():
    assert window(TrueEvent(100, 110, "spike"), 1000) == (95, 160)
    assert window(TrueEvent(100, 500, "drift"), 1000) == (95, 580)
    assert window(TrueEvent(2, 990, "drift"), 1000) == (0, 999)


@pytest.mark.parametrize(("row", "hits", "false"), [(94, 0, 1), (95, 1, 0), (160, 1, 0), (161, 0, 1)])
def test_an_alert_hits_inside_the_window_and_is_false_outside(row, hits, false):
    result = score(curve(TrueEvent(100, 110, "spike")), alerts(row))
    assert (result.hits, result.lenient.episodes) == (hits, false)


def test_an_event_counts_once_and_further_alerts_in_its_window_are_free():
    result = score(curve(TrueEvent(100, 110, "spike")), alerts(101, 120, 150))
    assert (result.hits, result.lenient.alerts) == (1, 0)
    assert result.delays == [1]


def test_one_alert_may_hit_two_events_whose_windows_overlap():
    assert score(curve(TrueEvent(100, 110, "spike"), TrueEvent(120, 125, "spike")), alerts(118)).hits == 2


def test_false_alerts_at_most_ten_rows_apart_are_one_episode():
    result = score(curve(), alerts(10, 20, 30, 41, 500))
    assert result.lenient == Falses(alerts=5, episodes=3, clear_rows=1000)
    assert result.lenient.per_10k == 30
    assert result.lenient.alerts_per_10k == 50


def test_harmless_events_are_forgiven_in_the_lenient_count_only_and_optional_ones_in_both():
    harmless = TrueEvent(100, 100, "bad_batch", Verdict.HARMLESS)
    optional = TrueEvent(500, 500, "grad_spike", Verdict.OPTIONAL)
    result = score(curve(harmless, optional), alerts(100, 500))
    assert (result.lenient.episodes, result.strict.episodes) == (0, 1)
    assert (result.lenient.clear_rows, result.strict.clear_rows) == (1000 - 2 * 56, 1000 - 56)
    assert result.hits == 0 and not result.musts
    assert math.isnan(result.recall) and math.isnan(result.f1)


def test_an_early_alert_has_no_negative_delay():
    assert score(curve(TrueEvent(100, 110, "spike")), alerts(97)).delays == [0]


def test_onset_errors_and_kinds_are_those_of_the_first_alert_where_it_tells_them():
    events = (TrueEvent(100, 110, "spike"), TrueEvent(300, 320, "drift"), TrueEvent(600, 610, "spike"))
    found = [Finding(104, 98, "spike"), Finding(109, 100, "drift"), Finding(310, None, None)]
    result = score(curve(*events), found)
    assert result.onset_errors == [2]
    assert result.kind_right == 1.0
    assert result.confusion == {("spike", "spike"): 1, ("drift", "untold"): 1, ("spike", "missed"): 1}


def test_a_mere_note_is_neither_hit_nor_false_but_noticed():
    result = score(
        curve(TrueEvent(100, 110, "noise_change")), [Finding(101, is_alert=False), Finding(900, None, None, False)]
    )
    assert (result.hits, result.lenient.alerts) == (0, 0)
    assert result.outcomes[0].noticed is not None and result.outcomes[0].alert is None


def test_precision_recall_and_f1_follow_their_definitions():
    assert precision(3, 1) == 0.75
    assert recall(3, 6) == 0.5
    assert f1(3, 6, 1) == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert math.isnan(precision(0, 0))
    assert f1(0, 4, 0) == 0


@given(st.lists(st.integers(0, 999)), st.lists(st.tuples(st.integers(0, 900), st.integers(0, 99)), max_size=4))
def test_counts_add_up_whatever_is_raised(rows, spans):
    events = tuple(TrueEvent(first, first + length, "spike") for first, length in spans)
    result = score(curve(*events), alerts(*rows))
    assert 0 <= result.hits <= len(events)
    assert result.lenient.episodes <= result.lenient.alerts <= len(rows)
    assert result.lenient.alerts == result.strict.alerts  # nothing harmless here
    both = total([result, result])
    assert (both.hits, both.rows, both.lenient.clear_rows) == (
        2 * result.hits,
        2 * result.rows,
        2 * result.lenient.clear_rows,
    )


def scored(hits: int, events: int, false: int, clear_rows: int = 10_000) -> Score:
    event = TrueEvent(1, 1, "spike")
    outcomes = tuple(Outcome(event, Finding(1) if k < hits else None, None) for k in range(events))
    return Score(clear_rows, outcomes, Falses(false, false, clear_rows), Falses())


def test_intervals_hold_the_value_itself_and_are_the_same_for_the_same_seed():
    by_source = {"a": scored(8, 10, 1), "b": scored(1, 10, 0), "c": scored(5, 8, 4)}
    found = intervals(by_source)
    value = total(by_source.values())
    assert found.f1.low < value.f1 < found.f1.high
    assert found.false_per_10k.low < value.lenient.per_10k < found.false_per_10k.high
    assert found == intervals(by_source)


def test_sources_are_drawn_whole_so_one_source_has_no_spread():
    found = intervals({"a": scored(3, 6, 1)})
    assert found.f1.low == found.f1.high == pytest.approx(f1(3, 6, 1))


def test_intervals_without_anything_to_count_are_nan():
    found = intervals({"a": scored(0, 0, 0), "b": scored(0, 0, 0)})
    assert math.isnan(found.f1.low) and math.isnan(found.precision.high)
    assert found.false_per_10k.high == 0
