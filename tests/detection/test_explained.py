"""Shifts that a change of the run accounts for are information, and say what changed."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor import Sample
from pretrain_monitor.telemetry import Severity
from tests.curves import alerts, detect, healthy_run, samples


def shifted(seed: int, at: int = 900, n: int = 1500) -> dict[str, np.ndarray]:
    run = healthy_run(n, seed=seed)
    run["loss"][at:] *= 1.15
    return run


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_that_nothing_explains_is_an_alert(seed: int):
    (found,) = alerts(detect(samples(shifted(seed)))[1])
    assert "changes" not in found.evidence


@pytest.mark.parametrize("seed", range(3))
def test_a_declared_data_stage_explains_a_shift(seed: int):
    config = {"schedule": [{"step": 901, "what": "data_stage", "note": "stage 2: code"}]}
    incidents = detect(samples(shifted(seed)), config)[1]
    assert alerts(incidents) == []
    (told,) = [i for i in incidents if abs(i.onset_step - 901) <= 3]
    assert told.severity is Severity.INFO
    assert "stage 2: code" in told.message
    assert "nobody announced" not in told.message


def test_a_batch_size_that_changed_unannounced_explains_it_and_is_named_as_such():
    run = shifted(1)
    run["batch_size"] = np.where(np.arange(1500) < 900, 512.0, 128.0)
    incidents = detect(samples(run))[1]
    assert alerts(incidents) == []
    (told,) = [i for i in incidents if abs(i.onset_step - 901) <= 3]
    assert "which nobody announced" in told.message
    assert "512" in told.message


def test_an_announcement_explains_a_shift():
    stream = [
        Sample(s.step, s.metrics, meta={"announced": [{"text": "new shards", "what": "data_stage", "step": 901}]})
        if s.step == 901
        else s
        for s in samples(shifted(2))
    ]
    incidents = detect(stream)[1]
    assert alerts(incidents) == []
    assert any("new shards" in i.message for i in incidents)


def test_a_change_long_before_explains_nothing():
    config = {"schedule": [{"step": 700, "what": "data_stage", "note": "stage 2"}]}
    assert len(alerts(detect(samples(shifted(0)), config)[1])) == 1


def test_no_change_excuses_a_divergence_or_a_nan():
    config = {"schedule": [{"step": 901, "what": "data_stage", "note": "stage 2"}]}
    run = healthy_run(1500, seed=4)
    run["loss"][900:] += np.minimum(np.arange(600) * 0.02, 5.0)
    assert [i.severity for i in alerts(detect(samples(run), config)[1])][:1] == [Severity.CRITICAL]
    run = healthy_run(1000, seed=4)
    run["loss"][901] = np.nan
    assert [i.severity for i in alerts(detect(samples(run), config)[1])] == [Severity.CRITICAL]
