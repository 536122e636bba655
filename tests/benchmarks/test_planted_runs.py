"""The runs of benchmarks/planted: each can be read, is the same for the same seed, and has its defect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.planted import tokenizers
from benchmarks.planted.__main__ import main
from benchmarks.planted.cases import Case
from benchmarks.planted.defects import PLANTED
from benchmarks.planted.documents import HeldOut, Tasks
from benchmarks.planted.healthy import HEALTHY
from benchmarks.planted.knowledge import damaged_shard, damaged_shard_elsewhere
from benchmarks.planted.ordinary import Generated, ordinary, with_probes
from benchmarks.planted.runs import Session, Stage, write_run
from benchmarks.planted.table import Outcome, healthy_table, planted_table
from benchmarks.planted.trained import Training, held_out
from pretrain_monitor import Sample, read_run
from pretrain_monitor.audit.criteria import CHECKS
from pretrain_monitor.audit.model import Area, Audit, Finding, RunFacts, Verdict
from pretrain_monitor.records import read_events, read_records

SEED = 3
CASES = {case.name: case for case in (*PLANTED, *HEALTHY)}
GENERATED = [name for name in CASES if name != "very_long" and isinstance(CASES[name].make(SEED), Generated)]


def made(name: str, seed: int = SEED) -> Generated:
    run = CASES[name].make(seed)
    assert isinstance(run, Generated)
    return run


def held_out_of(run: Generated) -> HeldOut:
    return next(probe for probe in run.probes if isinstance(probe, HeldOut))


def bits(run: Generated, domain: str, step: int) -> float:
    stage = Stage()
    stage.step = step
    return held_out_of(run)(stage)[f"heldout/{domain}/bits_per_byte"]


def accuracy(run: Generated, suite: str, step: int) -> tuple[float, float]:
    """And the lower end of its interval."""
    stage = Stage()
    stage.step = step
    tasks = next(probe for probe in run.probes if isinstance(probe, Tasks))
    found = tasks(stage)
    return found[f"task/{suite}/accuracy"], found[f"task/{suite}/accuracy_lower"]


def test_there_are_enough_runs_and_each_expects_a_check_that_exists():
    assert len(PLANTED) >= 24 and len(HEALTHY) == 10
    assert len(CASES) == len(PLANTED) + len(HEALTHY)
    assert all(case.expects and set(case.expects) <= set(CHECKS) for case in PLANTED)
    assert not any(case.expects for case in HEALTHY)


@pytest.mark.parametrize("name", GENERATED)
def test_a_run_is_the_same_for_the_same_seed_and_another_one_for_another(name):
    one, same, other = made(name).course, made(name).course, made(name, SEED + 1).course
    assert np.array_equal(one.loss, same.loss, equal_nan=True) and np.array_equal(one.norm, same.norm, equal_nan=True)
    assert not np.array_equal(one.loss, other.loss, equal_nan=True)


@pytest.mark.parametrize("name", ["linear_to_nothing", "small_batches", "very_short"])
def test_a_healthy_loss_falls_by_a_power_law_with_noise_that_remembers_nothing(name):
    course = made(name).course
    assert np.isfinite(course.loss).all() and (np.diff(course.level[5:]) < 0).all()
    rest = np.log(course.loss / course.level)[course.steps // 2 :]
    rest -= rest.mean()
    assert abs(np.corrcoef(rest[1:], rest[:-1])[0, 1]) < 0.2
    assert course.rate[0] < course.rate.max() / 5 and course.rate[-1] < course.rate.max() / 5


def test_stability_defects_are_in_the_loss():
    diverged = made("diverged").course
    assert diverged.loss[-500:].mean() > diverged.loss[3500:4000].mean() + 3
    for name, steps in {"spike_without_recovery": 3500, "damage_that_stays": 3000}.items():
        course = made(name).course
        above = np.median((course.loss / course.level)[-1000:])
        assert course.loss[steps - 1 : steps + 5].max() > course.level[steps] + 1 and above > 1.03
    assert np.isnan(made("nan_steps").course.loss).sum() == 14
    many = made("many_spikes").course
    assert ((many.loss - many.level) > 7 * 0.011 * many.level).sum() > 60
    slow, costly = made("slow_recoveries").course, made("costly_spike").course
    assert ((slow.lasting / slow.level) > 0.011).mean() > 0.25
    assert costly.lasting.mean() > 0.1 and costly.lasting[-1] < 0.01
    noisy = made("noise_grows").course
    assert noisy.noise[-500:].std() > 2.5 * noisy.noise[2000:3500].std()
    stalled = made("stalled").course
    assert stalled.level[2700] - stalled.level[-1] < 0.1 * (stalled.level[1300] - stalled.level[2600])
    assert stalled.rate[2600] > 0.7 * stalled.rate.max()


def test_schedule_and_gradient_defects_are_in_the_log():
    lost = made("warm_up_lost").course
    assert lost.rate[0] == lost.rate.max() and lost.loss[:40].max() > lost.loss[0] + 1
    jump = made("rate_jumps").course.rate
    assert jump[3000] / jump[2999] == pytest.approx(3, rel=0.01)
    again = made("schedule_restarts").course
    assert again.sessions[1].first == 3601 and again.rate[3600] < 0.01 * again.rate.max()
    assert again.rate[3600:].max() > 0.99 * again.rate.max()
    assert made("never_decayed").course.rate[-1] == made("never_decayed").course.rate.max()
    assert made("ended_early").course.rate[-1] > 0.5 * made("ended_early").course.rate.max()
    clipped = made("always_clipped").course
    assert clipped.max_grad_norm is not None and (clipped.norm > clipped.max_grad_norm).mean() > 0.95
    grown = made("norm_grows_late").course.norm
    assert np.median(grown[-200:]) > 5 * np.median(grown[2800:3200])


def test_held_out_and_knowledge_defects_are_in_what_probes_tell():
    heart = made("learned_by_heart")
    assert heart.course.loss[-200:].mean() < heart.course.level[-200:].mean() - 0.8
    assert bits(heart, "code", 6000) > 0.97 * bits(heart, "code", 3000)
    rises = made("held_out_rises")
    assert all(bits(rises, domain, 6000) > 1.02 * bits(rises, domain, 4200) for domain in held_out_of(rises).domains)
    leaks = made("held_out_leaks")
    assert bits(leaks, "books", 4000) < 0.7 * bits(leaks, "books", 3700)
    assert bits(leaks, "forum", 4000) > 0.95 * bits(leaks, "forum", 3700)
    assert bits(made("poor_level"), "code", 6000) > 1.3
    assert bits(made("domain_forgotten"), "code", 5000) > 1.02 * bits(made("domain_forgotten"), "code", 3250)
    guessing = accuracy(made("suite_at_chance"), "arithmetic", 6000)
    assert guessing[1] < 0.25 < accuracy(made("suite_at_chance"), "science", 6000)[1]
    forgotten = made("suite_forgotten")
    assert accuracy(forgotten, "law", 3500)[1] > 0.35 > accuracy(forgotten, "law", 6000)[1]
    behind = made("no_better_than_a_compressor")
    assert bits(behind, "swahili", 6000) > 2.2 and bits(behind, "forum", 6000) < 1.5
    assert bits(made("domain_far_behind"), "patents", 6000) > 1.6 * bits(made("domain_far_behind"), "forum", 6000)


def test_data_defects_are_single_steps_and_the_same_steps_elsewhere():
    for name in ("bad_batches", "bad_batches_of_usual_norm"):
        bad = made(name).course
        assert (bad.added > 0.4).sum() == 36 and not bad.lasting.any()
    for step in (1710, 3155, 4720):
        for run in (damaged_shard(SEED), damaged_shard_elsewhere(SEED)):
            assert run.course.loss[step - 1 : step + 6].max() > run.course.level[step] + 0.5


def test_broken_tokenizers_are_broken():
    lost = tokenizers.measured(tokenizers.without_merges(), "code")()
    assert lost["tokenization/code/bytes_per_token"] == pytest.approx(1.0)
    good = tokenizers.measured(tokenizers.good(), "code", "russian")()
    assert good["tokenization/code/bytes_per_token"] > 2.5
    assert good["tokenization/russian/bytes_per_token"] < 1.2
    assert good["tokenization/russian/byte_fallback_share"] > 0.5
    assert tokenizers.measured(tokenizers.of_words(), "code")()["tokenization/code/unknown_share"] > 0.1


def test_a_written_run_is_read_back_with_its_probes(tmp_path):
    run = with_probes(ordinary(SEED, 120, warm_up=10), SEED, every=40)
    run.write(tmp_path / "run")
    samples = list(read_run(tmp_path / "run"))
    losses = {sample.step: sample.metrics["loss"] for sample in samples if "loss" in sample.metrics}
    assert losses == dict(enumerate(run.course.loss.tolist(), 1))
    rounds = [sample for sample in samples if "heldout/code/bits_per_byte" in sample.metrics]
    assert [sample.step for sample in rounds] == [0, 1, 2, 4, 8, 16, 32, 40, 80, 120]
    assert {"heldout/macro/loss", "heldout/code/coverage", "task/law/accuracy_lower", "task/law/chance_p"} <= set(
        rounds[-1].metrics
    )
    assert any(record["type"] == "probe" for record in read_records(tmp_path / "run" / "run.jsonl"))


def test_sessions_end_as_they_are_to_end(tmp_path):
    course = ordinary(SEED, 60, warm_up=5)
    course.sessions = (
        Session(1, 20, "interrupted"),
        Session(21, 40, "killed"),
        Session(36, 50, "crashed"),
        Session(51, 60),
    )
    course.never_logged = frozenset({"grad_norm"})
    write_run(tmp_path / "run", course)
    samples = list(read_run(tmp_path / "run"))
    assert [sample.step for sample in samples] == list(range(1, 61))
    assert not any("grad_norm" in sample.metrics for sample in samples)
    records = list(read_records(tmp_path / "run" / "run.jsonl"))
    assert [record["resumed_from"] for record in records if record["type"] == "run"] == [None, 20, 35, 50]
    assert [record["max_grad_norm"] for record in records if record["type"] == "run"] == [1.0] * 4
    ends = [record["reason"] for record in records if record["type"] == "end"]
    assert ends[0] == "interrupted" and ends[1].startswith("crashed") and ends[2] == "finished" and len(ends) == 3


def test_a_forgotten_domain_becomes_an_incident_by_the_monitor_itself(tmp_path):
    made("domain_forgotten").write(tmp_path / "run")
    kinds = {event.incident.kind.value for event in read_events(tmp_path / "run" / "run.jsonl")}
    assert "retention_loss" in kinds and "probe_failure" not in kinds


def test_trainings_do_what_they_are_named_for(tmp_path):
    text = "".join(held_out()["documentation"]).encode()
    leaking = Training(SEED, leaks_from=5)
    leaked = [sum(bytes(row.astype(np.uint8).tolist()) in text for row in leaking.batch(step)) for step in (4, 5)]
    assert leaked[0] == 0 and leaked[1] >= 12
    russian = Training(SEED, only_russian_from=5)
    assert (russian.batch(4) > 127).mean() < 0.01 and (russian.batch(5) > 127).mean() > 0.5
    few = Training(SEED, windows=32)
    assert np.array_equal(few.batch(1), few.batch(3)) and not np.array_equal(few.batch(1), few.batch(2))
    restarting = Training(SEED, steps=100, resumes_at=60, restarts_rate=True, warm_up=10)
    assert restarting.learning_rate(61) == restarting.learning_rate(1) < 0.2 * restarting.learning_rate(10)

    one = Training(SEED, steps=6, resumes_at=3, unlabelled_at=5, warm_up=2)
    samples = written(one, tmp_path / "one")
    losses = [sample.metrics["loss"] for sample in samples if "loss" in sample.metrics]
    assert np.isfinite(losses[:4]).all() and np.isnan(losses[4:]).all()
    assert any("task/continuations/accuracy" in sample.metrics for sample in samples)
    again = [sample.metrics["loss"] for sample in written(one, tmp_path / "two") if "loss" in sample.metrics]
    assert np.array_equal(losses, again, equal_nan=True)


def written(training: Training, folder: Path) -> list[Sample]:
    training.write(folder)
    return list(read_run(folder))


def audit_with(*failing: str) -> Audit:
    findings = [
        Finding(check=check, area=Area(check.partition("/")[0]), title="", value=2.0, limit=1.0, passed=False)
        for check in failing
    ]
    findings.append(
        Finding(check="schedule/decay", area=Area.SCHEDULE, title="", value=None, missing="a rate", limit=1.0)
    )
    facts = RunFacts(name="run", path="run", source="run log", samples=1)
    return Audit(run=facts, criteria="research", verdict=Verdict.NOT_READY, reasons=[], findings=findings)


def outcome(*failing: str, expects: tuple[str, ...] = ()) -> Outcome:
    return Outcome(Case(damaged_shard, "", expects), audit_with(*failing), (0.0, 0.0))


def test_only_the_right_finding_counts_and_a_check_without_a_value_has_found_nothing():
    right = outcome("schedule/jumps", "held_out/gap", expects=("schedule/jumps",))
    assert [finding.check for finding in right.found_by] == ["schedule/jumps"] and right.others == ["held_out/gap"]
    wrong = outcome("schedule/jumps", expects=("schedule/decay",))
    assert not wrong.found_by
    assert planted_table([right, wrong]).caption == "1 of 2 found by the right finding"
    assert healthy_table([outcome("schedule/jumps"), outcome()]).caption == "1 false failing findings in 2 runs"


def test_a_name_that_no_run_has_is_told_in_one_line(capsys):
    assert main(["--only", "nothing_of_the_kind"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --only nothing_of_the_kind") and told.count("\n") == 1 and "diverged" in told
