"""A loss that has stopped falling, told from one that only falls ever more slowly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from curves import alerts, detect, healthy_run, samples

from pretrain_monitor import InstabilityDetector
from pretrain_monitor.detection.plateau import PlateauRule, slope_of
from pretrain_monitor.telemetry import Kind, Severity, Status


def run_that_stops(at: int, steps: int, *, seed: int, again: int | None = None) -> dict[str, np.ndarray]:
    """A healthy run whose loss rests at its level of step ``at``, and falls on from step ``again``."""
    run = healthy_run(steps, seed=seed)
    trend = 2.2 + 6 * (np.arange(steps) + 20.0) ** -0.45
    held = np.minimum(np.arange(steps), at)
    if again is not None:
        held[again:] = at + 3 * np.arange(steps - again)
    run["loss"] *= (2.2 + 6 * (held + 20.0) ** -0.45) / trend
    return run


def told(losses: np.ndarray) -> list[int]:
    rule = PlateauRule()
    return [i + 1 for i, loss in enumerate(losses) if rule.update(i + 1, float(loss))]


@pytest.mark.parametrize("at", [800, 2000])
def test_a_loss_that_stops_falling_is_told_before_the_run_is_twice_as_long_again(at):
    found = [told(run_that_stops(at, 3 * at, seed=seed)["loss"]) for seed in range(10)]
    assert sum(bool(steps) for steps in found) >= 9
    assert all(len(steps) <= 1 and at + 200 < steps[0] for steps in found if steps)


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_loss_that_falls_ever_more_slowly_is_no_plateau(seed):
    assert told(healthy_run(12_000, seed=seed)["loss"]) == []


def test_a_loss_that_never_fell_is_no_plateau():
    rng = np.random.default_rng(0)
    assert told(2.5 * np.exp(0.02 * rng.standard_normal(5000))) == []


def test_a_plateau_is_information_in_words_and_over_when_the_loss_falls_again():
    events, incidents = detect(samples(run_that_stops(800, 6000, seed=0, again=1500)))
    (plateau,) = [incident for incident in incidents if incident.kind is Kind.PLATEAU]
    assert plateau.severity is Severity.INFO and alerts(incidents) == []
    assert plateau.status is Status.PERSISTENT
    assert 600 <= plateau.onset_step <= 900 and plateau.detected_step < 1500
    assert plateau.expected < plateau.peak
    assert plateau.message.startswith(f"loss has stopped falling at step {plateau.onset_step:,}: it stays at ")
    assert "still flat after" in plateau.message
    assert [event.change for event in events if event.incident_id == plateau.id] == ["opened", "closed"]


def test_a_spike_during_a_plateau_is_an_alert_of_its_own():
    run = run_that_stops(800, 2500, seed=0)
    plateau = next(i for i in detect(samples(run))[1] if i.kind is Kind.PLATEAU)
    at = plateau.detected_step + 60
    run["loss"][at : at + 30] *= 1.3
    (spike,) = alerts(detect(samples(run))[1])
    assert spike.kind is Kind.SPIKE and abs(spike.onset_step - at - 1) <= 1


def test_the_curve_is_kept_in_constant_memory_and_restored_exactly():
    stream = list(samples(run_that_stops(2000, 6000, seed=1)))
    first, whole = InstabilityDetector(), InstabilityDetector()
    for sample in stream[:3000]:
        first.update(sample)
    state = first.state_dict()
    assert len(json.dumps(state["plateau"])) < 7000
    second = InstabilityDetector()
    second.load_state_dict(json.loads(json.dumps(state)), first.incidents)
    for sample in stream[3000:]:
        second.update(sample)
    for sample in stream:
        whole.update(sample)
    assert second.incidents == whole.incidents and len(whole.incidents) >= 1


def test_the_slope_of_a_power_law_lies_in_its_interval():
    x = np.linspace(5, 6, 60)
    slope = slope_of(x, 1.0 - 0.3 * x + 0.01 * np.random.default_rng(0).standard_normal(60))
    assert slope is not None and slope.low < -0.3 < slope.high and slope.high - slope.low < 0.05
    assert slope_of(x[:5], x[:5]) is None


def test_a_plateau_still_goes_on_if_a_resumed_run_ends_at_once():
    stream = list(samples(run_that_stops(800, 2500, seed=0)))
    first = InstabilityDetector()
    told_at = next(
        i for i, sample in enumerate(stream) if first.update(sample) and first.incidents[-1].kind == "plateau"
    )
    for sample in stream[told_at + 1 : told_at + 20]:
        first.update(sample)
    second = InstabilityDetector()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())), first.incidents)
    first.finish()
    second.finish()
    assert second.incidents == first.incidents
    assert second.incidents[-1].status is Status.ENDED_RUN


def test_a_spike_during_a_plateau_is_an_incident_of_its_own():
    run = run_that_stops(800, 2600, seed=1)
    (plateau,) = detect(samples(run))[1]
    at = plateau.detected_step + 150
    run["loss"][at - 1 : at + 11] *= 1.3
    incidents = detect(samples(run))[1]
    (spike,) = alerts(incidents)
    assert spike.kind is Kind.SPIKE
    assert spike.onset_step == at and 0 <= spike.detected_step - at <= 4
    assert incidents[0].kind is Kind.PLATEAU and not incidents[0].is_alert
