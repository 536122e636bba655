"""Incidents as people are told of them: one event one incident, with a beginning, a peak and an end that make sense."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from curves import alerts, detect, healthy_run, samples

from pretrain_monitor import Incident, InstabilityDetector
from pretrain_monitor.detection.messages import describe, two_numbers
from pretrain_monitor.detection.noise import has_grown, noise_span
from pretrain_monitor.telemetry import Kind, Severity, Status

SHAPES = ("spike", "nan", "inf", "shift", "dip", "ramp", "noise", "norm", "negative")


def eventful_run(seed: int) -> dict[str, np.ndarray]:
    """A run with up to three events of any shape, at any time, also one over the other."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(300, 1500))
    run = healthy_run(n, seed=seed, noise=float(rng.choice([0.003, 0.02, 0.08])))
    loss = run["loss"]
    for _ in range(rng.integers(0, 4)):
        at, length = int(rng.integers(2, n - 2)), int(rng.choice([1, 2, 5, 30, 200]))
        part = slice(at, min(at + length, n))
        match rng.choice(SHAPES):
            case "spike":
                loss[part] *= rng.choice([1.2, 2, 10])
            case "nan":
                loss[part] = np.nan
            case "inf":
                loss[part] = np.inf
            case "shift":
                loss[at:] *= 1.2
            case "dip":
                loss[part] *= 0.6
            case "ramp":
                loss[at:] *= 1 + np.arange(n - at) / 200
            case "noise":
                loss[part] *= np.exp(0.1 * rng.standard_normal(len(loss[part])))
            case "norm":
                run["grad_norm"][part] *= 20
            case "negative":
                loss -= 5
    return run


def oddities(incident: Incident) -> list[str]:
    """What no incident may say of itself."""
    found = []
    if incident.onset_step > incident.detected_step:
        found.append("begins after it was detected")
    if incident.peak_step < incident.onset_step - 8:
        found.append("peaks before it begins")
    if incident.end_step is not None and incident.end_step <= max(incident.onset_step, incident.detected_step - 300):
        found.append("ends before it begins")
    is_rate = incident.kind is Kind.LR_ANOMALY
    if incident.end_step is None and incident.status is Status.RECOVERED and not is_rate:
        found.append("is over without an end")
    if (
        incident.end_step is not None
        and incident.peak_step >= incident.end_step
        and incident.kind is not Kind.NONFINITE
    ):
        found.append("peaks after its end")
    if incident.relative_increase is not None and incident.relative_increase <= 0:
        found.append("rises by less than nothing")
    if (told := re.search(r"from (\S+) to (\S+)[ ;(]", incident.message)) and told[1] == told[2]:
        found.append("rises from a number to the same number")
    if " nan" in incident.message or " inf " in incident.message:
        found.append("says nan")
    return found


@pytest.mark.parametrize("seed", range(60))
def test_no_incident_contradicts_itself_or_overlaps_another(seed):
    _, incidents = detect(samples(eventful_run(seed)))
    for incident in incidents:
        assert oddities(incident) == [], incident
        json.dumps(incident.to_json(), allow_nan=False)
    told = sorted(alerts(incidents), key=lambda incident: incident.detected_step)
    for earlier, later in itertools.pairwise(told):
        assert later.onset_step >= (earlier.end_step or earlier.onset_step + 1), (earlier, later)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_told_twice_by_one_signal_not_even_for_information(seed):
    _, incidents = detect(samples(eventful_run(seed)))
    told_until: dict[str, int] = {}
    for incident in sorted(incidents, key=lambda incident: incident.detected_step):
        lead = "loss" if "loss" in incident.signals else incident.signals[0]
        if incident.kind is not Kind.PLATEAU:  # nothing happens at any one step of it
            assert incident.onset_step >= told_until.get(lead, 0), incident
            if incident.status is Status.RECOVERED and incident.end_step is not None:
                told_until[lead] = incident.end_step


def test_a_spike_while_a_noisy_stretch_is_still_open_is_an_incident_of_its_own():
    run = healthy_run(900, seed=3)
    noise = np.random.default_rng(3).standard_normal(160)
    run["loss"][400:560] *= np.exp(0.05 * noise)
    run["loss"][520:550] *= 2
    events, incidents = detect(samples(run))
    (spike,) = alerts(incidents)
    assert spike.kind in (Kind.SPIKE, Kind.DIVERGENCE)
    assert 0 <= spike.detected_step - 521 <= 5
    assert abs(spike.onset_step - 521) <= 1
    (noisy,) = [incident for incident in incidents if incident.kind is Kind.NOISE_CHANGE]
    assert noisy.severity is Severity.INFO and noisy.onset_step < 420
    opened = [event.incident_id for event in events if event.change == "opened"]
    assert opened == [noisy.id, spike.id]


def test_the_noisy_stretch_before_a_spike_survives_a_resume():
    run = healthy_run(900, seed=3)
    run["loss"][400:560] *= np.exp(0.05 * np.random.default_rng(3).standard_normal(160))
    run["loss"][520:550] *= 2
    _, expected = detect(samples(run))
    stream = list(samples(run))
    for cut in (519, 521, 522, 523, 530):
        first = InstabilityDetector()
        for sample in stream[:cut]:
            first.update(sample)
        second = InstabilityDetector()
        second.load_state_dict(json.loads(json.dumps(first.state_dict())), first.incidents)
        for sample in stream[cut:]:
            second.update(sample)
        second.finish()
        assert second.incidents == expected


def test_a_stretch_of_grown_noise_is_placed_from_its_beginning_to_its_end():
    run = healthy_run(1200, seed=0)
    run["loss"][600:720] *= np.exp(0.1 * np.random.default_rng(0).standard_normal(120))
    _, incidents = detect(samples(run))
    (incident,) = [incident for incident in incidents if incident.kind is Kind.NOISE_CHANGE]
    assert incident.status is Status.RECOVERED
    assert abs(incident.onset_step - 601) <= 8
    assert abs(incident.end_step - 721) <= 8
    assert "became noisier" in incident.message and "as quiet as before after" in incident.message


def test_noise_that_stays_is_not_called_over():
    run = healthy_run(1500, seed=1)
    run["loss"][600:] *= np.exp(0.1 * np.random.default_rng(1).standard_normal(900))
    _, incidents = detect(samples(run))
    first = next(incident for incident in incidents if incident.kind is Kind.NOISE_CHANGE)
    assert first.status is Status.PERSISTENT
    assert "still as noisy after" in first.message


def test_a_step_of_the_level_is_no_grown_noise():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(200)
    y[100:] += 5
    assert not has_grown(y[100:])
    y[150:170] = 5 + 4 * rng.standard_normal(20)
    first, last = noise_span(y, 155)
    assert abs(first - 150) <= 3 and abs(last - 169) <= 3


def test_losses_below_zero_have_no_percentage():
    run = healthy_run(900, seed=2)
    run["loss"] -= 5
    run["loss"][500:540] += 0.5
    _, incidents = detect(samples(run))
    (incident,) = alerts(incidents)
    assert incident.expected < 0 and incident.relative_increase is None
    assert "%" not in describe(incident)


def test_close_numbers_are_written_with_as_many_digits_as_tell_them_apart():
    assert two_numbers(3.21, 4.02) == ("3.21", "4.02")
    assert two_numbers(0.9999999, 1.0) == ("0.9999999", "1")
    assert two_numbers(12345.1, 12345.9) == ("12,345", "12,346")


@pytest.mark.parametrize("gap", [3, 8, 10, 30, 50])
@pytest.mark.parametrize("seed", range(3))
def test_a_blip_of_the_gradient_norm_before_makes_no_second_alert_of_a_rise(gap: int, seed: int):
    run = healthy_run(900, seed=seed, noise=0.01)
    run["grad_norm"][468 - gap] *= 4
    run["loss"][468:508] *= 1.3
    (found,) = alerts(detect(samples(run))[1])
    assert abs(found.onset_step - 469) <= 1
    assert found.end_step is not None and abs(found.end_step - 509) <= 2


@pytest.mark.parametrize(("rows", "power"), [(400, 2.0), (800, 1.3), (1200, 2.0)])
def test_a_divergence_over_many_hundred_steps_is_one_alert(rows: int, power: float):
    run = healthy_run(1500, seed=1)
    run["loss"][700:] *= 1 + 2 * np.clip(np.arange(800) / rows, 0, 1) ** power
    (found,) = alerts(detect(samples(run))[1])
    assert found.kind is Kind.DIVERGENCE
