"""Alerts of a finished run on curves whose truth is known by construction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curves import ar1, detect, healthy_run, samples

from pretrain_monitor import Incident, Severity
from pretrain_monitor.audit.offline import offline_alerts
from pretrain_monitor.audit.reviewed import Reviewed
from pretrain_monitor.telemetry import Kind, Status

NAN = float("nan")


def quiet(n: int, *, seed: int = 0, noise: float = 0.02, memory: float = 0.0) -> np.ndarray:
    """A power law with noise that remembers so much of the row before."""
    t = np.arange(n)
    return (2.2 + 6 * (t + 20.0) ** -0.45) * np.exp(noise * ar1(np.random.default_rng(seed), n, memory))


def incident(onset: int, end: int | None, kind: Kind = Kind.SPIKE, **changed: object) -> Incident:
    """An alert told three steps after its onset."""
    told = Incident(
        id=f"i{onset}",
        kind=kind,
        severity=Severity.WARNING,
        status=Status.PERSISTENT if end is None else Status.RECOVERED,
        signals=("loss",),
        onset_step=onset,
        detected_step=onset + 3,
        peak_step=onset + 3,
        end_step=end,
        expected=None,
        peak=None,
        score=None,
        relative_increase=None,
        excess_loss=None,
    )
    return replace(told, **changed)


def looked_at(
    loss: np.ndarray, *incidents: Incident, every: int = 1, grad_norm: np.ndarray | None = None
) -> list[Reviewed]:
    steps = np.arange(len(loss)) * every
    series = {"loss": (steps, loss)} | ({} if grad_norm is None else {"grad_norm": (steps, grad_norm)})
    return offline_alerts(incidents, series)


def only(verdicts: list[Reviewed]) -> Reviewed:
    (verdict,) = verdicts
    return verdict


def test_a_spike_that_heals_is_kept_with_its_rows_and_height():
    loss = quiet(3000)
    loss[1500:1512] *= 1.25
    verdict = only(looked_at(loss, incident(1500, 1512)))
    assert (verdict.is_alert, verdict.source, verdict.incident_id) == (True, "live", "i1500")
    assert (verdict.onset_step, verdict.detected_step, verdict.end_step, verdict.row) == (1500, 1503, 1512, 1503)
    assert verdict.reason.startswith("12 rows over 4 sd, up to 2")


def test_a_spike_that_live_detection_did_not_tell_is_found_where_it_is():
    loss = quiet(3000)
    loss[1500:1504] *= 1.25
    verdict = only(looked_at(loss))
    assert (verdict.is_alert, verdict.was_alert, verdict.source, verdict.kind) == (True, False, "offline", Kind.SPIKE)
    assert (verdict.onset_step, verdict.end_step) == (1500, 1504)
    assert 1500 <= verdict.detected_step < 1504
    assert verdict.row == verdict.detected_step


def test_two_rows_are_no_alert_however_high_and_three_are():
    two, three = quiet(3000), quiet(3000)
    two[1500:1502] *= 3
    three[1500:1503] *= 1.5
    assert looked_at(two) == []
    assert only(looked_at(three)).onset_step == 1500


def test_a_row_that_stands_for_ten_steps_is_an_alert_alone_and_one_of_a_single_step_is_not():
    loss = quiet(3000)
    loss[1500] *= 1.5
    assert looked_at(loss) == []
    assert only(looked_at(loss, every=10)).onset_step == 15_000


def test_a_gradient_norm_that_is_high_too_is_a_witness_for_a_lower_row():
    loss, rng = quiet(3000), np.random.default_rng(1)
    loss[1500] = np.exp(np.log(2.2 + 6 * 1520.0**-0.45) + 0.02 * 8)
    norm = np.exp(0.1 * rng.standard_normal(3000))
    assert looked_at(loss, every=10, grad_norm=norm) == []
    norm[1500] *= 10
    assert only(looked_at(loss, every=10, grad_norm=norm)).onset_step == 15_000


@pytest.mark.parametrize("kind", [Kind.LEVEL_SHIFT, Kind.SPIKE])
def test_a_shift_that_lasts_is_kept(kind: Kind):
    loss = quiet(4000)
    loss[2000:] *= 1.04
    verdict = only(looked_at(loss, incident(2000, None, kind)))
    assert verdict.is_alert
    assert verdict.reason.startswith("it lasts: the ")


def test_a_shift_of_two_sd_that_was_not_told_is_found():
    loss = quiet(4000)
    loss[2000:] *= 1.04
    verdict = only(looked_at(loss))
    assert (verdict.kind, verdict.source, verdict.is_alert) == (Kind.LEVEL_SHIFT, "offline", True)
    assert abs(verdict.onset_step - 2000) <= 64
    assert verdict.end_step is None


def test_a_shift_that_does_not_last_is_demoted():
    verdict = only(looked_at(quiet(4000), incident(2000, None, Kind.LEVEL_SHIFT)))
    assert verdict.is_demoted
    assert verdict.reason.startswith("nothing lasts: the ")


def test_a_few_single_rows_told_as_a_spike_are_demoted():
    loss = quiet(3000)
    loss[[1500, 1506, 1513]] *= 1.3
    verdict = only(looked_at(loss, incident(1500, 1514)))
    assert verdict.is_demoted
    assert verdict.reason.startswith("single rows, at most 1")


def test_the_return_from_a_dip_is_no_new_level():
    loss = quiet(4000)
    loss[2000:2300] *= 0.95
    assert looked_at(loss) == []
    verdict = only(looked_at(loss, incident(2300, None, Kind.LEVEL_SHIFT)))
    assert verdict.is_demoted
    assert verdict.reason.startswith("the return from a dip")


def test_what_noise_with_a_long_memory_does_now_and_then_is_demoted():
    rng = np.random.default_rng(4)
    loss = 3 * np.exp(0.02 * ar1(rng, 20_000, 0.97))
    smooth = np.convolve(np.log(loss), np.ones(9) / 9, "same")
    high = int(np.argmax(smooth[2000:-2000])) + 2000
    verdict = only(looked_at(loss, incident(high - 8, high + 8)))
    assert verdict.is_demoted
    assert "usual fluctuation" in verdict.reason


def test_the_same_rise_at_each_turn_of_an_epoch_is_a_cycle_and_no_alert():
    loss = quiet(6000) * np.exp(-0.05 * (np.arange(6000) % 1000) / 1000)
    verdicts = looked_at(loss, *(incident(turn, None, Kind.LEVEL_SHIFT) for turn in range(1000, 6000, 1000)))
    assert [verdict.is_alert for verdict in verdicts] == [False] * 5
    assert all("comes back every " in verdict.reason for verdict in verdicts)


def test_information_that_turns_out_to_be_more_is_promoted():
    loss = quiet(3000)
    loss[1500:1506] *= 1.2
    verdict = only(looked_at(loss, incident(1500, 1501, Kind.BAD_BATCH, severity=Severity.INFO)))
    assert verdict.is_promoted
    assert (verdict.incident_id, verdict.source, verdict.kind) == ("i1500", "live", Kind.SPIKE)
    assert "6 rows over 4 sd" in verdict.reason


def test_a_bad_batch_from_which_the_loss_never_came_back_is_promoted_to_a_level_shift():
    loss = quiet(4000)
    loss[2000:] *= 1.04
    loss[2000] *= 1.3
    verdict = only(looked_at(loss, incident(1997, 1999, Kind.BAD_BATCH, severity=Severity.INFO)))
    assert (verdict.is_promoted, verdict.kind) == (True, Kind.LEVEL_SHIFT)
    assert verdict.reason.startswith("it lasts: the ")


def test_information_that_stays_so_is_not():
    loss = quiet(3000)
    loss[1500] *= 1.4
    verdict = only(looked_at(loss, incident(1500, 1501, Kind.BAD_BATCH, severity=Severity.INFO)))
    assert (verdict.is_alert, verdict.is_promoted, verdict.is_demoted) == (False, False, False)


def test_what_a_change_of_the_run_explains_is_neither_promoted_nor_found_again():
    loss = quiet(4000)
    loss[2000:] *= 1.06
    explained = incident(2000, None, Kind.LEVEL_SHIFT, severity=Severity.INFO, evidence={"changes": [{"step": 2000}]})
    assert only(looked_at(loss, explained)).is_alert is False


def test_a_second_rise_while_the_first_alert_was_open_is_an_alert_of_its_own():
    loss = quiet(3000)
    loss[1500:1504] *= 1.4
    loss[1530:1536] *= 1.3
    first, second = looked_at(loss, incident(1500, 1540))
    assert (first.incident_id, second.source, second.onset_step) == ("i1500", "offline", 1530)


def test_a_blow_up_near_the_start_is_held_against_the_noise_after_it():
    loss = quiet(1000)
    loss[20:30] *= 1.8
    assert only(looked_at(loss, incident(20, 30))).is_alert
    noisy = 3 * np.exp(0.3 * np.random.default_rng(0).standard_normal(1000))
    verdict = only(looked_at(noisy, incident(20, 30)))
    assert verdict.is_demoted
    assert verdict.reason.startswith("within the run's own noise")


@pytest.mark.parametrize("kind", [Kind.NONFINITE, Kind.DIVERGENCE])
def test_a_nan_and_a_divergence_stay_what_they_were(kind: Kind):
    loss = quiet(3000)
    loss[1500] = NAN
    verdict = only(looked_at(loss, incident(1500, 1501, kind, severity=Severity.CRITICAL)))
    assert verdict.is_alert
    assert verdict.row == 1503


def test_rows_count_values_that_are_not_finite_too():
    loss = quiet(3000)
    loss[[100, 101, 900]] = NAN, np.inf, -np.inf
    loss[1500:1504] *= 1.3
    verdict = only(looked_at(loss))
    assert (verdict.onset_step, verdict.row) == (1500, verdict.detected_step)


def test_the_last_rows_of_a_run_are_left_as_they_were_told():
    loss = quiet(3000)
    verdict = only(looked_at(loss, incident(2980, None, status=Status.ENDED_RUN)))
    assert verdict.is_alert
    assert verdict.reason == "the run ended before it could show whether this lasts"


def test_a_short_run_is_left_as_it_was_told():
    verdict = only(looked_at(quiet(99), incident(50, 60)))
    assert verdict.is_alert
    assert verdict.reason == "a loss of 99 values is too short to know what is usual in it"


def test_a_run_without_a_loss_is_left_as_it_was_told():
    verdict = only(offline_alerts([incident(50, 60)], {"grad_norm": (np.arange(9), np.ones(9))}))
    assert (verdict.is_alert, verdict.row) == (True, -1)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 50, 99, 101, 400])
def test_constant_and_short_series_raise_nothing(n: int):
    assert looked_at(np.full(n, 2.0)) == []
    assert looked_at(np.zeros(n)) == []
    assert looked_at(quiet(n)) == []
    assert looked_at(np.full(n, NAN)) == []


def test_a_loss_below_zero_is_judged_as_it_is():
    loss = np.random.default_rng(0).standard_normal(3000) - 5.0
    loss[1500:1506] += 12.0
    verdict = only(looked_at(loss))
    assert verdict.onset_step == 1500
    assert "%" not in verdict.reason


def test_log_spaced_steps_are_judged_row_by_row():
    loss = quiet(2000)
    loss[1000:1006] *= 1.3
    steps = np.unique(np.geomspace(1, 1e6, 4000).astype(np.int64))[:2000]
    verdict = only(offline_alerts([], {"loss": (steps, loss)}))
    assert (verdict.onset_step, verdict.end_step) == (steps[1000], steps[1006])


def test_a_healthy_run_has_no_alerts_and_twice_the_same_answer():
    run = healthy_run(30_000, seed=3)
    steps = np.arange(1, 30_001)
    _, incidents = detect(samples(run), {"false_alarms_per_10k_steps": 10.0})
    assert sum(incident.is_alert for incident in incidents) > 5  # enough to look at again
    verdicts, again = (
        offline_alerts(incidents, {"loss": (steps, run["loss"]), "grad_norm": (steps, run["grad_norm"])})
        for _ in range(2)
    )
    assert verdicts == again
    assert sum(verdict.is_alert for verdict in verdicts) <= 1


def test_every_incident_gets_one_verdict_in_order_of_onset():
    run = healthy_run(4000, seed=1)
    run["loss"][2000:2020] *= 1.5
    run["loss"][3000] = NAN
    _, incidents = detect(samples(run))
    verdicts = offline_alerts(incidents[::-1], {"loss": (np.arange(1, 4001), run["loss"])})
    assert sorted(v.incident_id for v in verdicts if v.incident_id) == sorted(i.id for i in incidents)
    assert [v.onset_step for v in verdicts] == sorted(v.onset_step for v in verdicts)
    assert {v.kind for v in verdicts if v.is_alert} == {Kind.SPIKE, Kind.NONFINITE}
