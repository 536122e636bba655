"""The audit of whole runs: from our log, from anybody's, with a model at hand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from audit_runs import QUIET, table, watched
from curves import healthy_run, samples
from probe_rounds import probe_rounds

from pretrain_monitor import Monitor, audit_run, read_run, replay
from pretrain_monitor.config import ConfigError
from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.readers import LogError
from pretrain_monitor.records import read_events
from pretrain_monitor.telemetry import in_order


def faulty(n: int = 2500) -> dict[str, np.ndarray]:
    run = healthy_run(n, seed=7, noise=0.01)
    run["loss"][900:925] *= np.linspace(1.5, 1.0, 25)
    run["grad_norm"][900:925] *= 6
    run["learning_rate"][1500:] *= 3
    run["loss"][1600:] *= 1.07
    run["loss"][2490:] = np.nan
    return run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audited") / "run"
    monitor = Monitor(path, {**QUIET, "tensorboard": {"enabled": True}})
    monitor.start()
    for sample in samples(faulty()):
        monitor.observe(sample)
    monitor.finish()
    return path


def test_incidents_are_the_same_live_in_a_replay_and_in_the_audit(run_dir: Path):
    newest = {event.incident_id: event.incident for event in read_events(run_dir / "run.jsonl")}
    live = [incident.to_json() for incident in in_order(newest.values())]
    assert len(live) >= 3
    assert [incident.to_json() for incident in replay(run_dir)] == live
    assert audit_run(run_dir).incidents == live


def test_event_files_give_the_same_incidents_up_to_their_precision(run_dir: Path):
    live, theirs = audit_run(run_dir).incidents, audit_run(run_dir / "tensorboard").incidents
    same = ("kind", "severity", "status", "signals", "onset_step", "detected_step", "end_step")
    assert [[one[name] for name in same] for one in theirs] == [[one[name] for name in same] for one in live]
    for ours, other in zip(live, theirs, strict=True):
        if isinstance(ours["peak"], float):
            assert other["peak"] == pytest.approx(ours["peak"], rel=1e-5)


def test_a_run_that_was_killed_gets_the_incidents_of_its_replay(tmp_path: Path):
    killed = watched(tmp_path / "killed", faulty(), reason=None)
    ours = [incident.to_json() for incident in replay(killed)]
    assert audit_run(killed).incidents == ours
    assert ours[-1]["status"] == "ended_run"


def test_steps_that_were_given_up_count_for_nothing(tmp_path: Path):
    run = faulty()
    monitor = Monitor(tmp_path / "run", QUIET)
    monitor.start()
    everything = list(samples(run))
    for sample in everything[:1700]:
        monitor.observe(sample)
    monitor.finish("crashed")
    monitor.start(800)
    for sample in samples(healthy_run(2500, seed=7, noise=0.01)):
        if sample.step > 800:
            monitor.observe(sample)
    monitor.finish()
    audit = audit_run(tmp_path / "run")
    assert (audit.run.sessions, audit.run.last_step, audit.incidents) == (2, 2500, [])
    assert audit.finding("evidence/ended").passed is True


def test_facts_of_the_run(tmp_path: Path):
    audit = audit_run(watched(tmp_path / "small", healthy_run(500, seed=1)))
    run = audit.run
    assert (run.name, run.source, run.samples, run.first_step, run.last_step) == ("small", "run log", 500, 1, 500)
    assert (run.tokens_seen, run.interval, run.end_reason) == (500_000, 1.0, "finished")
    assert run.began == 1.7e9 + 1 and run.ended == 1.7e9 + 500
    assert run.final_loss == pytest.approx(float(np.median(healthy_run(500, seed=1)["loss"][-100:])))


def test_curves_keep_every_spike_and_the_rounds(tmp_path: Path):
    run = healthy_run(20_000, seed=2)
    run["loss"][12_345] = 50.0
    audit = audit_run(watched(tmp_path / "run", run, probe_rounds(10, seed=1, every=2000)))
    by_name = {curve.signal: curve for curve in audit.curves}
    loss = by_name["loss"]
    assert 50.0 in loss.values and len(loss.steps) < 5000
    assert loss.steps[loss.values.index(50.0)] == 12_346
    assert by_name["heldout/code/bits_per_byte"].steps == list(range(0, 20_000, 2000))
    assert len(by_name["heldout/code/bits_per_byte"].lower) == 10
    assert by_name["power law of the first half"].dashed


def results(path: Path, *models: dict[str, object]) -> Path:
    """A file as ``probe --json`` writes it."""
    from pretrain_monitor.probes.results import ModelResult, ProbeOutcome, Results, write_results

    made = []
    for number, model in enumerate(models):
        outcome = ProbeOutcome("heldout", "perplexity", model["metrics"], model.get("scores", {}), (), 1.0)
        made.append(ModelResult(f"m{number}", f"m{number}", model.get("step"), probes=(outcome,)))
    write_results(Results(tuple(made), "here", versions={"python": "3"}), path)
    return path


def test_results_of_a_model_are_one_more_round_of_its_run(tmp_path: Path):
    run = watched(tmp_path / "run", healthy_run(600, seed=1))
    assert audit_run(run).finding("held_out/level").value is None
    model = results(tmp_path / "model.json", {"metrics": {"heldout/code/bits_per_byte": 1.25}})
    audit = audit_run(run, model=model)
    assert audit.finding("held_out/level").value == 1.25
    assert any("m0" in note and "600" in note for note in audit.run.notes)


def test_results_alone_are_judged_by_what_they_are(tmp_path: Path):
    rounds = list(probe_rounds(6, seed=3, every=200, forgets={"heldout/law": (3, 0.2, 1.0)}))
    from pretrain_monitor.probes.averages import domain_metrics

    models = [
        {
            "step": step + 200,
            "scores": scores,
            "metrics": {k: v for name, one in scores.items() for k, v in domain_metrics(name, one).items()},
        }
        for step, scores in rounds
    ]
    path = results(tmp_path / "all.json", *models)
    audit = audit_run(path, criteria="checkpoint")
    assert audit.run.source == "results of probes"
    assert audit.finding("stability/incidents").value is None
    assert audit.finding("held_out/trend").passed is False
    assert audit.verdict == "not enough evidence"  # nobody held it against a compressor
    assert audit_run(path).verdict == "not enough evidence"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("binary.csv", bytes(range(256)) * 20, ""),
        ("words.csv", b"epoch,accuracy\n1,0.5\n", "no step column"),
        ("run.jsonl", b'{"type":"run","version":1,"resumed_from":null,"time":1.0}\n', "no samples"),
    ],
)
def test_a_log_that_cannot_be_audited_is_one_line(tmp_path: Path, name: str, content: bytes, said: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LogError) as refused:
        audit_run(tmp_path / name)
    assert said in str(refused.value) and name in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_refused_before_the_log_is_read(tmp_path: Path):
    log = table(tmp_path / "log.csv", healthy_run(300, seed=1))
    with pytest.raises(ConfigError):
        audit_run(log, criteria="strict")
    with pytest.raises(LogError, match="no such file"):
        audit_run(log, against=tmp_path / "nowhere")
    (tmp_path / "other.json").write_text(json.dumps({"format": "else"}))
    with pytest.raises(ProbeError):
        audit_run(log, model=tmp_path / "other.json")


def test_a_pipe_can_be_audited(tmp_path: Path):
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = table(tmp_path / "log.csv", faulty()).read_text()
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    audit = audit_run(pipe)
    writer.join()
    assert audit.incidents == audit_run(tmp_path / "log.csv").incidents
    assert next(iter(read_run(tmp_path / "log.csv"))).step == 1
