from __future__ import annotations

import math

import numpy as np
import pytest
from curves import detect

from pretrain_monitor import Sample
from pretrain_monitor.detection.schedule import LearningRateRule


def judged(rates: list[float], resumed_at: int | None = None) -> list[tuple[int, str]]:
    rule, found = LearningRateRule(), []
    for i, rate in enumerate(rates):
        meta = {"resumed_from": i} if i == resumed_at else None
        if alarm := rule.update(rate, meta):
            found.append((i, alarm.detail["what"]))
    return found


def cosine(n: int = 1000, peak: float = 3e-4) -> list[float]:
    t = np.arange(n)
    return (peak * np.minimum(t / 100, 0.5 * (1 + np.cos(np.pi * t / n)))).tolist()


SCHEDULES = {
    "warm-up and cosine": cosine(),
    "constant": [1e-3] * 500,
    "warm-up, stable, decay": [*np.linspace(0, 1e-3, 50), *[1e-3] * 300, *np.linspace(1e-3, 0, 100)],
    "step decay": [1e-3] * 200 + [1e-4] * 200 + [1e-5] * 200,
    "exponential warm-up": [*(1e-7 * 1.1 ** np.arange(90)), *[5e-4] * 200],
    "inverse square root": [1e-2 * min(t**-0.5, t * 100**-1.5) for t in range(1, 1000)],
    "zero first": [0.0] * 30 + [0.01] * 300,
    "cyclical within a factor of two": [1e-3 * (1.5 + 0.5 * math.sin(t / 20)) for t in range(500)],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_usual_schedule_is_no_anomaly(name: str):
    assert judged(SCHEDULES[name]) == []


def test_a_jump_is_told_at_its_step():
    rates = cosine()
    rates[600] *= 30
    assert judged(rates) == [(600, "jump")]


def test_a_schedule_that_restarts_at_resume_is_told_and_a_continued_one_is_not():
    rates = cosine()
    assert judged([*rates[:500], *rates[500:]], resumed_at=500) == []
    assert judged([*rates[:500], *rates[:300]], resumed_at=500) == [(500, "restart")]
    assert judged([*rates[:900], *rates[100:300]], resumed_at=900) == [(900, "restart")]


def test_a_second_warm_up_in_a_log_that_does_not_tell_of_a_resume_is_told_within_five_steps():
    rates = cosine()
    assert judged([*rates[:500], *rates[1:300]]) == [(505, "restart")]


def test_a_schedule_set_back_to_its_peak_in_the_midst_of_decay_is_a_jump():
    rates = cosine()
    assert judged([*rates[:700], *rates[150:400]]) == [(700, "jump")]


def test_the_onset_of_a_second_warm_up_is_where_the_rate_dropped():
    rates = [1e-6, *cosine()[1:500], *cosine()[1:300]]
    _, incidents = detect(Sample(i, {"loss": 2.0, "learning_rate": rate}) for i, rate in enumerate(rates, start=1))
    assert [(i.kind.value, i.onset_step) for i in incidents] == [("lr_anomaly", 501)]
    assert "started again at step 501 instead of going on" in incidents[0].message


def test_a_rate_of_zero_for_long_is_told_once_and_the_last_step_of_a_decay_is_not():
    assert judged([1e-3] * 100 + [0.0] * 200) == [(149, "zero")]
    assert judged([*np.linspace(1e-3, 0, 200)]) == []


def test_a_negative_rate_is_told():
    assert judged([1e-3, 1e-3, -1e-3])[0] == (2, "negative")


def test_a_non_finite_rate_is_critical():
    stream = [Sample(i, {"loss": 2.0, "learning_rate": math.nan if i == 5 else 1e-3}) for i in range(1, 8)]
    _, incidents = detect(stream)
    assert [(i.kind.value, i.severity.value, i.onset_step) for i in incidents] == [("nonfinite", "critical", 5)]
    assert incidents[0].message.startswith("learning rate became NaN at step 5")


def test_a_jump_without_effect_on_the_loss_is_an_alert_of_its_own_kind_with_both_rates():
    rng = np.random.default_rng(0)
    stream = [
        Sample(i, {"loss": 2.0 * math.exp(0.02 * rng.standard_normal()), "learning_rate": 1e-3 if i < 300 else 1e-2})
        for i in range(1, 560)
    ]
    _, incidents = detect(stream)
    assert [(i.kind.value, i.severity.value, i.onset_step) for i in incidents] == [("lr_anomaly", "warning", 300)]
    assert "jumped from 0.001 to 0.01 at step 300; it has stayed there, no effect on the loss" in incidents[0].message
    assert incidents[0].status.value == "persistent"
