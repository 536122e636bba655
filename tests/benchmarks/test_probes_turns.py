"""Times by turns, and what is said of them."""

from __future__ import annotations

import time

import pytest

from benchmarks.probes.turns import Ratio, Took, in_turns, ratio, timed


def test_jobs_run_by_turns_and_every_other_turn_backwards():
    done: list[str] = []
    took = in_turns({name: lambda name=name: done.append(name) for name in "abc"}, 3)
    assert "".join(done) == "abccbaabc"
    assert {name: len(times) for name, times in took.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_ratio_is_that_of_each_turn_so_a_slow_turn_slows_both_sides():
    slow = [Took(2.0, 1.0), Took(20.0, 4.0), Took(3.0, 1.5)]
    fast = [Took(1.0, 1.0), Took(10.0, 1.0), Took(1.0, 1.0)]
    assert ratio(slow, fast) == Ratio(2.0, 2.0, 3.0)
    assert ratio(slow, fast, of="processor") == Ratio(1.5, 1.0, 4.0)
    assert str(ratio(slow, fast)) == "2.00 [2.00, 3.00]"


def test_turns_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        ratio([Took(1.0, 1.0)], [])


def test_sleeping_takes_time_and_no_processor():
    took = timed(lambda: time.sleep(0.05))
    assert took.clock >= 0.05
    assert took.processor < took.clock
