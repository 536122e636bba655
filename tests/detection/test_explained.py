"""Shifts that a change of the run accounts for are information, and say what changed."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor import Sample
from pretrain_monitor.telemetry import Kind, Severity
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


def epochs(n: int, length: int, *, seed: int) -> dict[str, np.ndarray]:
    """A run whose loss falls by 4 sd within each epoch and is back up at the next, and that logs its epoch."""
    run = healthy_run(n, seed=seed)
    place = np.arange(n) % length / length
    run["loss"] *= np.exp(-0.08 * place)
    run["epoch"] = np.arange(1, n + 1) / length
    return run


@pytest.mark.parametrize("form", ["a fraction", "a whole number"])
@pytest.mark.parametrize("seed", range(3))
def test_a_loss_that_rises_at_each_epoch_is_information(form: str, seed: int):
    run = epochs(3000, 500, seed=seed)
    if form == "a whole number":
        run["epoch"] = np.floor(np.arange(3000) / 500)
    _, incidents = detect(samples(run))
    assert alerts(incidents) == []
    texts = [change["text"] for incident in incidents for change in incident.evidence.get("changes", ())]
    assert texts and all(text.startswith("epoch ") and text.endswith(" began") for text in texts)
    assert not any("nobody announced" in incident.message for incident in incidents)
    del run["epoch"]
    assert alerts(detect(samples(run))[1])


def test_epochs_of_a_few_steps_explain_nothing():
    run = healthy_run(1500, seed=3)
    run["loss"][1000:] *= 1.15
    run["epoch"] = np.arange(1, 1501) / 20
    (found,) = alerts(detect(samples(run))[1])
    assert found.kind is Kind.LEVEL_SHIFT


def test_an_epoch_boundary_announces_no_change_of_the_batch_size():
    run = healthy_run(1500, seed=3)
    run["loss"][1000:] *= 1.15
    run["batch_size"] = np.where(np.arange(1500) < 1000, 256.0, 512.0)
    run["epoch"] = np.arange(1, 1501) / 1000
    _, incidents = detect(samples(run))
    assert alerts(incidents) == []
    changes = [change for incident in incidents for change in incident.evidence.get("changes", ())]
    assert {change["what"]: change["is_declared"] for change in changes} == {"batch_size": False, "epoch": True}
