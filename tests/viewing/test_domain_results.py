from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curves import healthy_run, samples
from probe_rounds import probe_rounds

from pretrain_monitor import Monitor, Sample
from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.paired import level, paired_change
from pretrain_monitor.probes.retention import RetentionTracker
from pretrain_monitor.viewing.domains import DomainResults
from pretrain_monitor.viewing.run_log import RunLogFollower
from pretrain_monitor.viewing.series import Series

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
EVERY = 500


def sample_of(step: int, scores: dict[str, Scores], tracker: RetentionTracker) -> Sample:
    metrics: dict[str, float] = {}
    for name, one in scores.items():
        metrics[f"{name}/bits_per_byte"] = level(one)
        metrics[f"{name}/bits_per_byte_se"] = 0.01
        metrics[f"{name}/loss"] = 2 * level(one)
    metrics["heldout/micro/bits_per_byte"] = 1.5
    changes = [change.to_json() for change in tracker.update(step, scores)]
    each = {"heldout": {"seconds": 0.5, "notes": ["cut at 64"]}}
    return Sample(step, metrics, meta={"probes": {"reason": "regular", "each": each}, "retention": changes})


@pytest.fixture(scope="module")
def rounds() -> list[tuple[int, dict[str, Scores]]]:
    return list(probe_rounds(24, seed=0, forgets={"heldout/law": (12, 0.2, 2.0)}))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[int, dict[str, Scores]]]) -> Path:
    run_dir = tmp_path_factory.mktemp("probed")
    monitor = Monitor(run_dir, QUIET)
    monitor.start()
    tracker = RetentionTracker()
    probed = {step: sample_of(step, scores, tracker) for step, scores in rounds}
    monitor.observe(probed[0])
    for sample in samples(healthy_run(rounds[-1][0], seed=0)):
        monitor.observe(sample)
        if sample.step in probed:
            monitor.observe(probed[sample.step])
    monitor.finish()
    return run_dir / "run.jsonl"


def read(path: Path) -> RunLogFollower:
    follower = RunLogFollower(path)
    while follower.read():
        pass
    return follower


def named(table: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in table["domains"] if entry["name"] == name)


def test_each_domain_has_its_values_with_intervals_best_and_newest(log: Path, rounds: Any):
    content = read(log).content
    table = content.domains.table(content.incidents)
    assert {entry["name"] for entry in table["domains"]} == {"code", "law", "news", "novels", "talk"}
    code = named(table, "code")
    levels = [level(scores["heldout/code"]) for _, scores in rounds]
    assert [point[0] for point in code["points"]] == [step for step, _ in rounds]
    assert [point[1] for point in code["points"]] == pytest.approx(levels)
    assert code["points"][0][3] - code["points"][0][1] == pytest.approx(1.959963984540054 * 0.01)
    assert code["first"] == {"step": 0, "value": pytest.approx(levels[0])}
    assert code["best"]["value"] == pytest.approx(min(levels))
    assert code["newest"]["value"] == pytest.approx(levels[-1])
    assert code["unit"] == "bits per byte"  # the loss per token says the same less well
    assert [entry["name"] for entry in table["averages"]] == ["micro"]
    assert table["rounds"][-1] == {"step": 11_500, "reason": "regular", "seconds": 0.5, "notes": ["cut at 64"]}
    assert content.domains.steps() == [step for step, _ in rounds]


def test_the_change_against_the_best_is_that_of_the_same_documents(log: Path, rounds: Any):
    content = read(log).content
    law = named(content.domains.table(content.incidents), "law")
    before = min(rounds[:-1], key=lambda entry: level(entry[1]["heldout/law"]))
    by_hand = paired_change(before[1]["heldout/law"], rounds[-1][1]["heldout/law"])
    change = law["change"]
    assert change["best_step"] == before[0]
    assert change["value"] == pytest.approx(by_hand.change, rel=1e-5)
    assert change["lower"] == pytest.approx(by_hand.lower, rel=1e-4)
    assert change["upper"] == pytest.approx(by_hand.upper, rel=1e-4)
    assert change["relative"] == pytest.approx(by_hand.change / by_hand.before, rel=1e-5)
    assert law["documents"] == 40


def test_a_lost_domain_is_flagged_with_its_incident_and_the_others_are_not(log: Path):
    content = read(log).content
    table = content.domains.table(content.incidents)
    (incident,) = [one for one in content.incidents if one.kind == "retention_loss"]
    assert (named(table, "law")["flag"], named(table, "law")["incident_id"]) == ("critical", incident.id)
    assert [entry["name"] for entry in table["domains"] if entry["flag"]] == ["law"]


def test_domains_of_one_incident_are_flagged_each_by_how_it_stands_itself(tmp_path: Path):
    forgets = {"heldout/law": (12, 0.25, 2.0), "heldout/news": (12, 0.045, 1.0), "heldout/talk": (12, 0.25, 2.0)}
    well = dict(probe_rounds(24, seed=0, wobble=0.003))
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    tracker = RetentionTracker()
    for number, (step, scores) in enumerate(probe_rounds(24, seed=0, wobble=0.003, forgets=forgets)):
        if number >= 19:
            scores["heldout/talk"] = well[step]["heldout/talk"]
        monitor.observe(sample_of(step, scores, tracker))
    monitor.finish()
    content = read(tmp_path / "run.jsonl").content
    table = content.domains.table(content.incidents)
    (incident,) = [one for one in content.incidents if one.kind == "retention_loss"]
    assert (incident.severity, incident.status) == ("critical", "ended_run")
    flags = {entry["name"]: entry["flag"] for entry in table["domains"]}
    assert flags == {"code": None, "law": "critical", "news": "lost", "novels": None, "talk": "recovered"}
    assert {entry["incident_id"] for entry in table["domains"] if entry["flag"]} == {incident.id}


def test_rounds_that_a_resumed_run_takes_back_are_gone(log: Path, rounds: Any):
    content = read(log).content
    content.domains.supersede(6000)
    law = named(content.domains.table([]), "law")
    assert law["newest"]["step"] == 6000
    assert law["flag"] is None
    assert law["change"]["best_step"] < 6000
    content.domains.supersede(-1)
    assert content.domains.table([]) == {"domains": [], "averages": [], "tokenization": [], "rounds": []}


def test_tokenization_is_a_table_of_texts_and_tasks_know_what_guessing_gives():
    results = DomainResults()
    metrics = {
        "tokenization/prose/bytes_per_token": 4.1,
        "tokenization/prose/bytes_per_token_se": 0.1,
        "tokenization/prose/against/gpt2": 1.1,
        "task/trivia/accuracy": 0.4,
        "task/trivia/accuracy_lower": 0.3,
        "task/trivia/accuracy_upper": 0.5,
        "task/trivia/chance": 0.25,
        "task/trivia/gold_bits_per_byte": math.nan,
    }
    results.add_sample(Sample(3, metrics, meta={"probes": {}}))
    table = results.table([])
    assert table["tokenization"] == [{"name": "prose", "metrics": {"bytes_per_token": 4.1, "against/gpt2": 1.1}}]
    accuracy, gold = table["domains"]
    assert (accuracy["chance"], accuracy["is_better_up"]) == (0.25, True)
    assert accuracy["newest"] == {"step": 3, "value": 0.4, "lower": 0.3, "upper": 0.5}
    assert gold["newest"]["value"] is None
    assert gold["best"] is None


def test_what_a_tokenizer_makes_of_texts_is_known_after_a_second_resumption():
    results = DomainResults()
    for step in (0, 110):
        results.add_sample(Sample(step, {"tokenization/prose/fertility": 1.5 + step}, meta={"probes": {}}))
    results.supersede(50)
    assert results.table([])["tokenization"] == [{"name": "prose", "metrics": {"fertility": 1.5}}]


def test_a_run_that_begins_once_more_from_step_0_has_one_first_round():
    results = DomainResults()
    for step, value in ((0, 8.0), (10, 5.0)):
        results.add_sample(Sample(step, {"heldout/code/bits_per_byte": value}, meta={"probes": {}}))
    results.supersede(0)
    results.add_sample(Sample(0, {"heldout/code/bits_per_byte": 9.0}, meta={"probes": {}}))
    (code,) = results.table([])["domains"]
    assert code["points"] == [[0, 9.0, None, None]]
    assert code["best"] == {"step": 0, "value": 9.0}


def test_a_table_is_json_whatever_the_durations_of_a_log():
    results = DomainResults()
    each = {"one": {"seconds": 1e308}, "two": {"seconds": 1e308}}
    results.add_sample(Sample(1, {"heldout/code/bits_per_byte": 1.0}, meta={"probes": {"each": each}}))
    assert json.loads(json.dumps(results.table([]), allow_nan=False))["rounds"][0]["seconds"] == 0.0


@pytest.mark.parametrize(
    "meta", [{"probes": None}, {"probes": {"each": 3}}, {"probes": {}, "retention": [1, {"domain": 2}]}]
)
def test_damaged_rounds_are_shown_as_far_as_they_can_be(meta: dict[str, Any]):
    results = DomainResults()
    results.add_sample(Sample(3, {"heldout/code/bits_per_byte": 1.0}, meta=meta))
    assert results.table([])["domains"][0]["newest"]["value"] == 1.0


def test_held_out_losses_of_other_peoples_runs_are_shown_as_they_are():
    series = Series()
    series.extend([10, 20, 30], [3.0, 2.0, 2.5])
    others = {"loss": series, "eval/runtime": series, "value_loss": series}
    for name in ("Loss/val", "lm loss validation", "valid_loss_epoch", "eval/cross_entropy", "test/Loss"):
        assert [one["name"] for one in DomainResults().table([], {name: series, **others})["domains"]] == [name]
    (entry,) = DomainResults().table([], {"eval/loss": series, **others})["domains"]
    assert entry["name"] == "eval/loss"
    assert entry["change"]["value"] == 0.5
    assert entry["change"]["relative"] == 0.25
    assert entry["change"]["lower"] is None


def test_many_rounds_of_many_domains_stay_small_and_quick():
    results = DomainResults()
    for step in range(3000):
        metrics = {f"heldout/d{i}/bits_per_byte": 1.0 + 0.001 * i + 1e-5 * step for i in range(20)}
        results.add_sample(Sample(step, metrics, meta={"probes": {}}))
    table = results.table([])
    assert all(len(entry["points"]) <= 2003 for entry in table["domains"])
    assert table["domains"][0]["points"][-1][0] == 2999
    assert np.isfinite([point[1] for point in table["domains"][3]["points"]]).all()


def test_to_look_at_runs_takes_no_torch():
    program = (
        "import sys; import pretrain_monitor.viewing.run_log, pretrain_monitor.viewing.foreign\n"
        "import pretrain_monitor.viewing.evidence, pretrain_monitor.viewing.coincidence\n"
        "assert not {'torch', 'tensorboard', 'plotly'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
