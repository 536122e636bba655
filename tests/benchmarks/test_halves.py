from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection.curves import Curve, TrueEvent, Verdict
from benchmarks.detection.halves import halves
from benchmarks.detection.zoo.load import load_zoo


def curve(source: str, musts: int, rows: int = 100) -> Curve:
    events = tuple(TrueEvent(k, k, "spike") for k in range(musts))
    harmless = TrueEvent(90, 90, "bad_batch", Verdict.HARMLESS)
    return Curve(source, source, np.arange(rows), np.ones(rows), events=(*events, harmless))


def by_source(curve: Curve) -> str:
    return curve.source


def test_sources_with_events_are_dealt_by_events_and_the_others_by_rows():
    curves = [curve("a", 2), curve("b", 3), curve("a", 2), curve("c", 1), curve("long", 0, 900), curve("short", 0, 300)]
    assert halves(curves, by_source) == (["a", "long"], ["b", "c", "short"])
    assert halves(curves[::-1], by_source) == halves(curves, by_source)


def test_one_source_has_an_empty_second_half():
    assert halves([curve("a", 1), curve("a", 2)], by_source) == (["a"], [])


def test_halves_of_the_small_trainings_part_no_cause_and_are_of_one_size():
    zoo = load_zoo()
    first, second = halves(zoo, by_source)
    assert sorted([*first, *second]) == sorted({curve.source for curve in zoo})
    musts, rows = (
        [sum(weight(curve) for curve in zoo if curve.source in half) for half in (first, second)]
        for weight in (lambda c: sum(e.verdict is Verdict.MUST for e in c.events), lambda c: c.rows)
    )
    assert musts[0] == pytest.approx(musts[1], abs=3)
    assert rows[0] == pytest.approx(rows[1], rel=0.1)
