from __future__ import annotations

import json

import pytest

from pretrain_monitor import InstabilityDetector, Sample
from pretrain_monitor.detection.mix import TrainingMix


def reports(shares_of, steps=range(20, 801, 20)):
    mix = TrainingMix()
    for step in steps:
        mix.update(step, {f"domain/{name}/token_share": share for name, share in shares_of(step).items()})
    return mix


def test_a_domain_that_left_the_mix_is_named_with_the_step_and_so_is_one_that_took_its_place():
    mix = reports(lambda step: {"law": 0.3, "code": 0.7} if step <= 400 else {"code": 1.0})
    found = mix.changes(since=380, until=800)
    assert [(c["step"], c["text"]) for c in found] == [
        (420, "the share of law in the training went from 30 % to 0 %"),
    ]  # 70 to 100 % is less than half as much again
    assert not found[0]["is_declared"]


def test_shares_that_waver_are_no_change():
    mix = reports(lambda step: {"law": 0.3 + (0.08 if step % 40 else -0.08), "code": 0.7})
    assert mix.changes(since=400, until=800) == []


@pytest.mark.parametrize(("since", "until"), [(0, 800), (900, 1000), (400, 400)])
def test_without_reports_on_both_sides_nothing_is_said(since, until):
    mix = reports(lambda step: {"law": 0.0 if step > 400 else 0.5})
    assert mix.changes(since=since, until=until) == []


def test_memory_does_not_grow():
    mix = reports(lambda step: {"law": 0.5}, steps=range(20, 100_000, 20))
    assert len(mix.state_dict()) == 128


def standing(step, is_loss):
    numbers = {"value": 1.1 if is_loss else 1.0, "best": 1.0, "first": 3.0, "relative": 0.1 if is_loss else 0.0}
    maybe = {"limit": 0.02, "wobble": 0.005, "lower": 0.05, "upper": 0.15, "p_adjusted": 0.001}
    steps = {"step": step, "best_step": 400, "first_step": 0, "good_step": 400, "documents": 50}
    words = {"domain": "heldout/law", "metric": "heldout/law/bits_per_byte", "is_loss": is_loss, "is_first": False}
    return {**numbers, **maybe, **steps, **words}


def test_a_retention_loss_says_what_left_the_mix_also_after_a_resume():
    whole, first = InstabilityDetector(), InstabilityDetector()
    resumed = InstabilityDetector()
    samples = []
    for step in range(1, 601):
        metrics = {"loss": 2.0}
        if step % 20 == 0:
            metrics |= {"domain/law/token_share": 0.3 if step <= 420 else 0.0, "domain/code/token_share": 0.7}
        samples.append(Sample(step, metrics))
        if step % 200 == 0:
            meta = {"probes": {"reason": "regular", "each": {}}, "retention": [standing(step, step > 400)]}
            samples.append(Sample(step, {"heldout/law/bits_per_byte": 1.0}, meta=meta))
    for sample in samples:
        whole.update(sample)
    for sample in samples[:500]:
        first.update(sample)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())), first.incidents)
    for sample in samples[500:]:
        resumed.update(sample)
    (incident,) = [i for i in whole.incidents if i.kind == "retention_loss"]
    assert (
        "at step 440: the share of law in the training went from 30 % to 0 %, which nobody announced"
        in incident.message
    )
    assert [i.to_json() for i in resumed.incidents] == [i.to_json() for i in whole.incidents]
    assert not [i for i in whole.incidents if i.kind != "retention_loss"]
