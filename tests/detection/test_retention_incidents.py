"""Incidents of domains that are forgotten and of probes that fail; live, replayed and resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from curves import healthy_run, samples
from probe_rounds import DOMAINS, probe_rounds

from pretrain_monitor import Incident, InstabilityDetector, Monitor, Sample, replay
from pretrain_monitor.probes.retention import RetentionTracker
from pretrain_monitor.telemetry import Change, Event, Kind, Severity, Status

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
LAW, NEWS = "heldout/law", "heldout/news"
AT_ONCE = {LAW: (20, 0.09, 0.3)}
EVERY = 25


def run_with_probes(*, seed: int = 0, steps: int = 700, fault: float = 1.0, **rounds: Any) -> list[Sample]:
    """A healthy training with a round of probes every 25 steps, behind the sample of its step; as one would log it."""
    run = healthy_run(steps, seed=seed)
    run["loss"][500:520] *= fault
    measured = dict(probe_rounds(steps // EVERY + 1, seed=seed, every=EVERY, **rounds))
    tracker = RetentionTracker()
    stream = [round_of(tracker, 0, measured[0])]
    for sample in samples(run):
        stream.append(sample)
        if sample.step in measured:
            stream.append(round_of(tracker, sample.step, measured[sample.step]))
    return stream


def round_of(tracker: RetentionTracker, step: int, scores: dict[str, Any]) -> Sample:
    changes = tracker.update(step, scores)
    metrics = {change.metric: change.value for change in changes}
    meta = {"probes": {"reason": "regular"}, "retention": [change.to_json() for change in changes]}
    return Sample(step, metrics, meta=meta)


def detect(stream: Iterable[Sample], detector: InstabilityDetector | None = None) -> tuple[list[Event], list[Incident]]:
    detector = detector or InstabilityDetector()
    events = [event for sample in stream for event in detector.update(sample)]
    events += detector.finish()
    return events, detector.incidents


def about_probes(incidents: Iterable[Incident]) -> list[Incident]:
    return [i for i in incidents if i.kind in (Kind.RETENTION_LOSS, Kind.PROBE_FAILURE)]


def told(domain: str, step: int, value: float, *, is_loss: bool = False, **facts: Any) -> dict[str, Any]:
    """What a round says of a domain whose best was 1 bit per byte at step 100."""
    entry = {
        "domain": domain, "metric": f"{domain}/bits_per_byte", "step": step, "value": value, "best": 1.0,
        "best_step": 100, "first": 1.5, "first_step": 0, "documents": 40, "good_step": 180,
        "change": value - 1, "lower": value - 1.01, "upper": value - 0.99, "p": 1e-6, "p_adjusted": 5e-6,
        "relative": value - 1, "limit": 0.02, "wobble": 0.005, "is_loss": is_loss, "is_first": False, "note": "",
    }  # fmt: skip
    return {**entry, **facts}


def told_rounds(*rounds: list[dict[str, Any]]) -> list[Sample]:
    return [Sample(entries[0]["step"], {}, meta={"retention": entries}) for entries in rounds]


def test_a_forgotten_domain_is_an_alert_in_its_first_round():
    _, incidents = detect(run_with_probes(wobble=0.002, forgets={LAW: (20, 0.07, 0.3)}))
    (found,) = about_probes(incidents)
    assert (found.kind, found.severity, found.status) == (Kind.RETENTION_LOSS, Severity.WARNING, Status.ENDED_RUN)
    assert found.signals == ("heldout/law/bits_per_byte",)
    # It began between two rounds: the last one that was good and the one that was not.
    assert (found.onset_step, found.detected_step) == (19 * EVERY + 1, 20 * EVERY)
    assert found.expected is not None and found.peak is not None and found.peak > 1.04 * found.expected
    facts = found.evidence["domains"][LAW]
    assert facts["lower"] < facts["worst"] - facts["best"] < facts["upper"]
    assert 0 < facts["share_lost"] < 1
    assert "heldout/law got worse" in found.message and "95 % interval" in found.message
    assert "bits per byte" in found.message and found.message.endswith("not over when the run ended")


def test_a_healthy_run_with_probes_raises_nothing():
    _, incidents = detect(run_with_probes(seed=1))
    assert about_probes(incidents) == []


def test_rounds_change_nothing_for_the_rules_of_the_training():
    stream = run_with_probes(fault=1.5, forgets=AT_ONCE)
    events, incidents = detect(stream)
    alone, of_training = detect(s for s in stream if "loss" in s.metrics)
    assert len(about_probes(incidents)) == 1 and of_training
    kinds = (Kind.RETENTION_LOSS, Kind.PROBE_FAILURE)
    assert [repr(e) for e in events if e.incident.kind not in kinds] == [repr(e) for e in alone]


def test_a_resume_is_told_to_the_learning_rate_rule_though_a_round_came_before_the_first_step():
    stream = [Sample(step, {"loss": 2.0, "learning_rate": 1e-3 - 2e-6 * step}) for step in range(1, 200)]
    stream.append(Sample(199, {"heldout/law/loss": 2.0}, meta={"resumed_from": 199, "probes": {}}))
    stream += [Sample(step, {"loss": 2.0, "learning_rate": 1e-3 - 2e-6 * (step - 199)}) for step in range(200, 240)]
    (found,) = detect(stream)[1]
    assert (found.kind, found.evidence["learning_rate"]["what"]) == (Kind.LR_ANOMALY, "restart")


def test_domains_that_are_lost_together_are_one_incident_with_the_worst_first():
    stream = told_rounds(
        [told(LAW, 200, 1.05, is_loss=True), told(NEWS, 200, 1.0)],
        [told(LAW, 300, 1.04, is_loss=True), told(NEWS, 300, 1.07, is_loss=True, good_step=150)],
        [told(LAW, 400, 1.03, is_loss=True), told(NEWS, 400, 1.06, is_loss=True)],
    )
    events, (found,) = detect(stream)
    assert [(e.step, e.change) for e in events] == [
        (200, Change.OPENED),
        (300, Change.UPDATED),
        (400, Change.CLOSED),
    ]
    assert found.signals == ("heldout/news/bits_per_byte", "heldout/law/bits_per_byte")
    assert (found.onset_step, found.detected_step, found.peak_step) == (151, 200, 300)
    assert (found.expected, found.peak, found.relative_increase) == (1.0, 1.07, pytest.approx(0.07))
    assert found.score == pytest.approx(0.07 / 0.005)
    assert "with it heldout/law (+5.0 %): all 2 domains that were measured" in found.message


def test_it_is_over_when_every_domain_is_back():
    stream = told_rounds(
        [told(LAW, 200, 1.05, is_loss=True), told(NEWS, 200, 1.06, is_loss=True)],
        [told(LAW, 300, 1.0), told(NEWS, 300, 1.04, is_loss=True)],
        [told(LAW, 400, 1.0), told(NEWS, 400, 1.0)],
        [told(LAW, 500, 1.0), told(NEWS, 500, 1.0)],
    )
    events, (found,) = detect(stream)
    assert [(e.step, e.change) for e in events] == [(200, Change.OPENED), (300, Change.UPDATED), (400, Change.CLOSED)]
    assert (found.status, found.end_step) == (Status.RECOVERED, 400)
    assert found.message.endswith("learned again after 219 steps")
    assert events[1].incident.evidence["domains"][LAW]["status"] == "back"


def test_a_second_loss_is_a_second_incident_with_an_id_of_its_own():
    lost, back = [told(LAW, 200, 1.05, is_loss=True)], [told(LAW, 200, 1.0)]
    _, incidents = detect(told_rounds(lost, back, lost, back))
    assert [i.status for i in incidents] == [Status.RECOVERED] * 2
    assert len({i.id for i in incidents}) == 2


def test_a_large_loss_is_critical_from_the_round_in_which_it_is_large():
    events, (found,) = detect(told_rounds([told(LAW, 200, 1.05, is_loss=True)], [told(LAW, 300, 1.12, is_loss=True)]))
    assert [e.incident.severity for e in events[:2]] == [Severity.WARNING, Severity.CRITICAL]
    assert found.detected_step == 300


def test_a_domain_whose_documents_were_changed_does_not_count_as_back():
    events, (found,) = detect(
        told_rounds([told(LAW, 200, 1.05, is_loss=True)], [told(LAW, 300, 0.8, is_first=True, limit=None)])
    )
    assert found.status is Status.PERSISTENT
    assert found.evidence["domains"][LAW]["status"] == "other documents"
    assert found.evidence["domains"][LAW]["newest"] == 1.05
    assert len(events) == 2


def test_nan_and_entries_of_another_form_are_passed_over():
    stream = told_rounds(
        [told(LAW, 200, 1.05, is_loss=True)],
        [told(LAW, 300, math.nan)],
        [{**told(LAW, 400, 1.0), "value": "NaN"}],
        [told(LAW, 500, 1.0, metric=None)],
        [told(LAW, 600, 1.0, best_step="100")],
    )
    stream += [Sample(700, {}, meta={"retention": odd}) for odd in (None, "lost", 3, ["lost", None, {}])]
    events, (found,) = detect(stream)
    assert [e.change for e in events] == [Change.OPENED, Change.CLOSED]
    assert found.status is Status.ENDED_RUN


def test_a_run_whose_held_out_loss_becomes_nan_goes_on_being_watched():
    stream = run_with_probes()
    for sample in stream[-30:]:
        if sample.meta:
            for entry in sample.meta["retention"]:
                entry.update(value="NaN", change="NaN", relative="NaN")
    assert about_probes(detect(stream)[1]) == []


def test_what_changed_before_it_is_named():
    stream = run_with_probes(forgets=AT_ONCE)
    at = 19 * EVERY + 3
    said = [{"text": "stage 2: code only", "what": "data_stage", "step": at}]
    stream = [Sample(s.step, s.metrics, meta={"announced": said}) if s.step == at else s for s in stream]
    (found,) = about_probes(detect(stream)[1])
    assert [change["text"] for change in found.evidence["changes"]] == ["stage 2: code only"]
    assert f"with a change of the run at step {at:,}: stage 2: code only" in found.message


def test_what_changed_long_before_or_after_is_not():
    stream = run_with_probes(forgets=AT_ONCE)
    config = {"schedule": [{"step": step, "note": f"at {step}"} for step in (100, 20 * EVERY + 1, 600)]}
    (found,) = about_probes(detect(stream, InstabilityDetector(config))[1])
    assert "changes" not in found.evidence


def test_a_probe_that_is_switched_off_is_information_told_once():
    failure = {"probe": "tasks", "problem": "out of memory, also with 1 row", "switched_off": True}
    events, (found,) = detect(
        [Sample(1, {"loss": 2.0}), Sample(1, {}, meta={"probe_failures": [failure]}), Sample(2, {"loss": 2.0})]
    )
    assert (found.kind, found.severity, found.status) == (Kind.PROBE_FAILURE, Severity.INFO, Status.PERSISTENT)
    assert found.message == "probe tasks failed at step 1: out of memory, also with 1 row; it is switched off"
    assert [event.change for event in events] == [Change.OPENED, Change.CLOSED]


def test_each_probe_that_fails_has_one_incident():
    stream = [
        Sample(step, {}, meta={"probe_failures": [{"probe": name, "problem": "no", "switched_off": step == 3}]})
        for step in (1, 2, 3)
        for name in ("a", "b")
    ]
    _, incidents = detect(stream)
    assert [(i.signals, i.onset_step, i.evidence["failures"]) for i in incidents] == [(("a",), 1, 3), (("b",), 1, 3)]
    assert "failed at step 1 and 2 times since" in incidents[0].message


def observe(monitor: Monitor, stream: Iterable[Sample]) -> None:
    for sample in stream:
        monitor.observe(sample)


def eventful() -> list[Sample]:
    forgets = {LAW: (8, 0.09, 0.3), NEWS: (20, 0.2, 2.0)}
    stream = run_with_probes(fault=1.4, forgets=forgets)
    failure = {"probe": "tasks", "problem": "no", "switched_off": False}
    stream.insert(300, Sample(stream[299].step, {}, meta={"probe_failures": [failure]}))
    return stream


def test_live_incidents_equal_those_of_a_replay_of_the_log(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    observe(monitor, eventful())
    monitor.finish()
    assert {i.kind for i in monitor.incidents} >= {Kind.RETENTION_LOSS, Kind.PROBE_FAILURE, Kind.SPIKE}
    by_onset = sorted(monitor.incidents, key=lambda i: (i.onset_step, i.detected_step))
    assert [repr(i) for i in replay(tmp_path)] == [repr(i) for i in by_onset]


@pytest.mark.parametrize("restored", [180, 225, 449, 600])
def test_a_run_resumed_in_the_middle_gives_the_same_incidents(tmp_path: Path, restored: int):
    stream = eventful()
    whole = Monitor(tmp_path / "whole", QUIET)
    whole.start()
    observe(whole, stream)
    whole.finish()
    config = {**QUIET, "snapshot_steps": 100}
    killed = Monitor(tmp_path / "run", config)
    killed.start()
    observe(killed, (s for s in stream if s.step <= restored + 30))
    killed._log.close()  # type: ignore[union-attr]  # what a kill does
    resumed = Monitor(tmp_path / "run", config)
    resumed.start(restored)
    observe(resumed, (s for s in stream if s.step > restored))
    resumed.finish()
    assert [repr(i) for i in resumed.incidents] == [repr(i) for i in whole.incidents]
    assert [repr(i) for i in replay(tmp_path / "run")] == [repr(i) for i in replay(tmp_path / "whole")]


@pytest.mark.parametrize("cut", [5, 210, 240, 320, 530, 600])
def test_a_detector_restored_from_json_goes_on_as_if_nothing_had_happened(cut: int):
    stream = eventful()
    whole, _ = detect(stream)
    first = InstabilityDetector()
    events = [event for sample in stream[:cut] for event in first.update(sample)]
    second = InstabilityDetector()
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)), first.incidents)
    events += detect(stream[cut:], second)[0]
    assert [repr(event) for event in events] == [repr(event) for event in whole]


def test_all_domains_that_get_worse_together_are_named_as_all():
    forgets = dict.fromkeys(DOMAINS, (20, 0.15, 0.3))
    (found,) = about_probes(detect(run_with_probes(forgets=forgets))[1])
    assert len(found.signals) == 5
    assert "and 1 more: all 5 domains that were measured" in found.message


def test_a_text_that_was_known_by_heart_and_is_forgotten_is_told_like_any_other():
    detector = InstabilityDetector()
    entry = {**told(LAW, 200, 0.3, is_loss=True), "best": 0.0, "lower": 0.2, "upper": 0.4}
    (event,) = detector.update(Sample(200, {}, meta={"probes": {}, "retention": [entry]}))
    assert "95 % interval +0.2 to +0.4" in event.incident.message


@pytest.mark.parametrize("is_still_lost", [True, False])
def test_what_is_lost_while_the_loss_is_up_is_told_only_if_it_stays_lost(is_still_lost: bool):
    run = healthy_run(700, seed=4)
    run["loss"][400:430] *= 1.6
    detector = InstabilityDetector()
    for sample in samples(run):
        detector.update(sample)
        if sample.step in (410, 600):
            entry = told(LAW, sample.step, 1.2, is_loss=sample.step == 410 or is_still_lost)
            detector.update(Sample(sample.step, {}, meta={"probes": {}, "retention": [entry]}))
    found = {str(incident.kind): incident for incident in detector.incidents if incident.is_alert}
    assert found["spike"].status is Status.RECOVERED
    assert ("retention_loss" in found) is is_still_lost
    if is_still_lost:
        assert found["retention_loss"].detected_step == 600
