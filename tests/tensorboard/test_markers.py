from __future__ import annotations

import math

from test_telemetry import an_incident

from pretrain_monitor import Event, Incident, Sample
from pretrain_monitor.telemetry import Change
from pretrain_monitor.tensorboard.markers import AlertMarkers, Marker


def feed(markers: AlertMarkers, losses: dict[int, float], upper: float = 2.5) -> list[Marker]:
    return [
        m for step, loss in losses.items() for m in markers.on_sample(Sample(step, {"loss": loss, "loss/upper": upper}))
    ]


def tell(markers: AlertMarkers, step: int, change: Change, incident: Incident) -> list[Marker]:
    return markers.on_event(Event(step, incident.id, change, incident))


def alert(id: str, onset: int, detected: int, **changes: object) -> Incident:
    return an_incident(id=id, onset_step=onset, detected_step=detected, **changes)


def test_points_between_onset_and_detection_are_marked_late_and_later_ones_at_once():
    markers = AlertMarkers()
    assert feed(markers, {1: 2.0, 2: 2.0, 3: 3.0, 4: 3.0, 5: 3.5}) == []
    opened = tell(markers, 5, Change.OPENED, alert("a", onset=3, detected=5))
    assert [(m.step, m.value) for m in opened] == [(3, 3.0), (4, 3.0), (5, 3.5)]
    assert [m.step for m in feed(markers, {6: 3.0})] == [6]


def test_a_point_inside_the_band_of_before_the_onset_is_not_marked_however_the_band_moves():
    markers = AlertMarkers()
    feed(markers, {1: 2.0, 2: 3.0})
    tell(markers, 2, Change.OPENED, alert("a", onset=2, detected=2))
    assert [m.step for m in feed(markers, {3: 2.9, 4: 2.4, 5: 2.9}, upper=4.0)] == [3, 5]


def test_a_second_alert_never_goes_back_behind_the_first():
    markers = AlertMarkers()
    feed(markers, {1: 2.0, 2: 3.0})
    tell(markers, 2, Change.OPENED, alert("a", onset=2, detected=2))
    feed(markers, {3: 3.0, 4: 3.0})
    end = tell(markers, 4, Change.CLOSED, alert("a", onset=2, detected=2, end_step=5))
    assert [(m.step, math.isnan(m.value)) for m in end] == [(5, True)]
    feed(markers, {5: 3.0, 6: 3.0})
    assert [m.step for m in tell(markers, 6, Change.OPENED, alert("b", onset=3, detected=6))] == [6]


def test_before_there_is_a_band_what_lies_above_the_expected_value_is_marked():
    markers = AlertMarkers()
    feed(markers, {1: 2.0, 2: 9.0, 3: 2.1}, upper=math.nan)
    marked = tell(markers, 3, Change.OPENED, alert("a", onset=2, detected=2, expected=2.5))
    assert [m.step for m in marked] == [2]


def test_a_loss_that_was_never_finite_has_no_place_to_be_drawn():
    markers = AlertMarkers()
    feed(markers, {1: math.nan})
    assert tell(markers, 1, Change.OPENED, alert("a", onset=1, detected=1)) == []


def test_signals_without_a_curve_of_their_own_are_left_out():
    markers = AlertMarkers()
    feed(markers, {1: 2.0})
    incident = alert("a", onset=1, detected=1, signals=("update_rms",))
    assert tell(markers, 1, Change.OPENED, incident) == []
