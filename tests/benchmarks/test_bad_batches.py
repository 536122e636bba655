from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection.bad_batches import BadBatches, bad_batches, count, planted
from benchmarks.detection.curves import Curve, Finding, TrueEvent, Verdict
from benchmarks.detection.local_noise import local_level, local_sd
from benchmarks.detection.zoo.load import load_zoo


def curve(*events: TrueEvent) -> Curve:
    return Curve("c", "s", np.arange(1000), np.ones(1000), events=events)


def harmless(first: int, last: int, kind: str = "bad_batch", group: str = "bad_batch") -> TrueEvent:
    return TrueEvent(first, last, kind, Verdict.HARMLESS, group)


def told(row: int) -> Finding:
    return Finding(row, row, "bad_batch", is_alert=False)


@pytest.fixture(scope="module")
def long_runs() -> list[Curve]:
    """Healthy small trainings that are long enough for a clean stretch."""
    return [curve for curve in load_zoo() if curve.source == "long"]


def test_a_single_row_is_met_by_what_is_told_at_that_row_and_by_nothing_near_it():
    labelled = curve(harmless(100, 100), harmless(300, 300), harmless(500, 500))
    found = [told(100), told(301), Finding(503, 500, "spike")]
    assert count(labelled, found) == BadBatches(rows=1000, told=2, elsewhere=1, known=3, met=1, alerted=1)


def test_longer_events_and_those_that_may_be_instabilities_are_not_known_and_only_harmless_ones_excuse():
    events = (harmless(100, 101), harmless(200, 200, "level_shift"), TrueEvent(300, 300, "bad_batch", Verdict.OPTIONAL))
    assert count(curve(*events), [told(101), told(200), told(300)]) == BadBatches(1000, told=3, elsewhere=1)


def test_alerts_and_other_information_are_no_bad_batches():
    other = [Finding(100, 100, "bad_batch"), Finding(200, 200, "noise_change", is_alert=False)]
    assert count(curve(), other) == BadBatches(1000)


def test_where_some_were_planted_only_these_are_known_and_counts_add_up():
    labelled = curve(harmless(100, 100), harmless(300, 300, group="planted"))
    one = count(labelled, [told(100), told(300)])
    assert one == BadBatches(1000, told=2, known=1, met=1)
    assert one + one == BadBatches(2000, told=4, known=2, met=2)


def test_planting_raises_single_rows_by_their_size_and_leaves_the_others(long_runs):
    (original,) = long_runs[:1]
    (spoiled,) = planted([original], (10, 20))
    rows = [event.first for event in spoiled.events]
    assert all(event.first == event.last and 10 <= event.size <= 20 for event in spoiled.events)
    assert len(rows) > 4 and min(np.diff([0, *rows])) >= 300
    assert np.delete(spoiled.loss, rows) == pytest.approx(np.delete(original.loss, rows), rel=1e-12)
    x = np.log(original.loss)
    raised = (np.log(spoiled.loss) - x)[rows] / local_sd(x, local_level(x))[rows]
    assert raised == pytest.approx([event.size for event in spoiled.events])
    assert np.array_equal(spoiled.others["grad_norm"], original.others["grad_norm"])


def test_large_planted_batches_are_told_in_a_real_run_and_nothing_is_told_in_it_without(long_runs):
    without, spoiled = bad_batches(long_runs), bad_batches(list(planted(long_runs, (20, 40))))
    assert (without.known, without.met) == (0, 0)
    assert without.told <= 1
    assert spoiled.known >= 10
    assert spoiled.met >= 0.8 * spoiled.known
    assert spoiled.elsewhere <= 1
