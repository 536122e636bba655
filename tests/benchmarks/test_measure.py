from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest

from benchmarks.detection.curves import Curve, Finding, TrueEvent
from benchmarks.detection.matched import matched
from benchmarks.detection.measure import measure
from benchmarks.detection.ours import OurDetector
from benchmarks.detection.ours_offline import OfflineDetector
from benchmarks.detection.registry import chosen


@dataclass
class Above:
    """Alerts on every row above a limit."""

    limit: float = 5.0
    limits: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 5.0, 9.0)
    name: str = "above"
    mode: Literal["live", "offline"] = "live"

    def with_limit(self, limit: float) -> Above:
        return replace(self, limit=limit)

    def detect(self, curve: Curve) -> list[Finding]:
        return [Finding(row) for row in np.flatnonzero(curve.loss > self.limit).tolist()]


@dataclass
class Broken:
    name: str = "broken"
    mode: Literal["live", "offline"] = "live"

    def detect(self, curve: Curve) -> list[Finding]:
        raise ZeroDivisionError("nothing to divide by")


def steps(heights: dict[int, float], event: int = 5000, rows: int = 10_000) -> Curve:
    """A loss of 1 with single rows that are higher, and one event."""
    loss = np.ones(rows)
    loss[list(heights)] = list(heights.values())
    return Curve("c", "s", np.arange(rows), loss, events=(TrueEvent(event, event, "spike"),))


CURVE = steps({1000: 2.5, 2000: 2.5, 3000: 4.0, 5000: 4.0})


def test_several_processes_give_the_same_scores_as_one():
    curves = [CURVE, steps({10: 6.0})]
    alone, together = (measure([Above(), Above(2.0)], curves, jobs=jobs) for jobs in (1, 2))
    # As text: the sizes of the events are NaN, which equals itself only within one process.
    assert [str(one.scores) for one in alone] == [str(one.scores) for one in together]
    assert [one.total.hits for one in alone] == [0, 1]


def test_a_detector_that_fails_is_named_with_its_curve():
    with pytest.raises(RuntimeError, match=r"broken failed on c: ZeroDivisionError: nothing to divide by"):
        measure([Broken()], [CURVE])


def test_matching_takes_the_most_sensitive_limit_within_the_rate():
    (found,) = matched([Above()], [CURVE], 2.0)
    assert (found.setting, found.total.lenient.episodes, found.total.hits) == ("limit 3", 1, 1)
    (found,) = matched([Above()], [CURVE], 3.5)
    assert (found.setting, found.total.lenient.episodes) == ("limit 1", 3)


def test_a_rule_that_never_stops_firing_does_not_pass_for_a_quiet_one():
    # Below 1 every row alerts, which is one or two endless episodes, fewer than the limits just above give.
    assert measure([Above(0.0)], [CURVE])[0].total.lenient.episodes == 2
    (found,) = matched([Above()], [CURVE], 2.0)
    assert found.setting == "limit 3"


def test_detectors_that_cannot_be_adjusted_or_are_loud_at_every_limit_are_not_matched():
    loud = steps(dict.fromkeys(range(0, 4000, 100), 10.0))
    assert matched([Above(), Broken()], [loud], 1.0) == []


def test_intervals_draw_the_sources_they_are_told():
    curves = [replace(CURVE, name=name) for name in ("a", "b")]
    (one,) = measure([Above(2.0)], curves, source_of=lambda curve: curve.name)
    assert one.sources == ("a", "b")
    assert one.intervals.recall.low == 1.0


def test_the_part_of_some_sources_has_their_scores_and_their_time():
    curves = [replace(CURVE, source="a"), replace(CURVE, source="b", events=()), replace(CURVE, source="a")]
    (one,) = measure([Above(2.0)], curves)
    part, rest = one.of(["a"]), one.of(["b"])
    assert (part.sources, part.total.hits, rest.total.hits) == (("a", "a"), 2, 0)
    assert part.total.rows + rest.total.rows == one.total.rows
    assert sum(part.cpu_s) + sum(rest.cpu_s) == pytest.approx(sum(one.cpu_s))


def test_our_findings_are_at_the_rows_of_detection_and_onset():
    rng = np.random.default_rng(0)
    loss = 3 * np.exp(0.01 * rng.standard_normal(1500))
    loss[900:940] *= 1.5
    curve = Curve("c", "s", np.arange(100, 100 + 10 * 1500, 10), loss)  # every tenth step logged
    found = [finding for finding in OurDetector().detect(curve) if finding.is_alert]
    assert len(found) == 1
    assert 900 <= found[0].row < 910
    assert found[0].onset == 900
    assert found[0].kind == "spike"


def test_our_findings_point_at_the_row_itself_when_steps_repeat():
    rng = np.random.default_rng(0)
    loss = 3 * np.exp(0.01 * rng.standard_normal(1500))
    loss[901] = np.nan
    curve = Curve("c", "s", np.arange(1500) // 2, loss)
    assert [finding.row for finding in OurDetector().detect(curve) if finding.is_alert] == [901]


def test_our_limit_is_the_knob_negated():
    ours = OurDetector({"warmup_steps": 300}).with_limit(-3.0)
    assert ours.config == {"warmup_steps": 300, "false_alarms_per_10k_steps": 3.0}
    assert list(OurDetector.limits) == sorted(OurDetector.limits)


def test_looking_back_keeps_the_rise_that_was_told_live_at_its_row():
    rng = np.random.default_rng(0)
    loss = 3 * np.exp(0.01 * rng.standard_normal(1500))
    loss[900:940] *= 1.5
    curve = Curve("c", "s", np.arange(100, 100 + 10 * 1500, 10), loss)
    (live,) = (finding for finding in OurDetector().detect(curve) if finding.is_alert)
    assert [finding for finding in OfflineDetector().detect(curve) if finding.is_alert] == [live]


def test_looking_back_gives_the_row_itself_when_steps_repeat():
    rng = np.random.default_rng(0)
    loss = 3 * np.exp(0.01 * rng.standard_normal(1500))
    loss[901:905] *= 1.4
    curve = Curve("c", "s", np.arange(1500) // 2, loss)
    (found,) = (finding for finding in OfflineDetector().detect(curve) if finding.is_alert)
    assert 900 <= found.row <= 905
    assert found.onset in (900, 902)  # the first row of its step


def test_looking_back_is_one_of_the_detectors_and_its_limit_the_knob_negated():
    ours, offline = chosen(["pretrain-monitor"])[0]
    assert (ours.mode, offline.mode) == ("live", "offline")
    assert isinstance(offline, OfflineDetector)
    assert offline.with_limit(-3.0).config == {"false_alarms_per_10k_steps": 3.0}
    assert offline.with_limit(-3.0).name == offline.name
