"""Actions on two real processes: both do the same at the same step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from forked import run_ranks, start_ranks

from pretrain_monitor import read_run
from pretrain_monitor.actions.plan import EXIT_STATUS, VARIABLE

PROGRAM = Path(__file__).with_name("action_ranks.py")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(PROGRAM, [folder], folder, limit_s=250)
    return folder


def on_both(folder: Path, scenario: str) -> dict[str, Any]:
    """What both ranks wrote, which has to be the same."""
    first, second = (json.loads((folder / f"{scenario}-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    return first


def actions_in(run_dir: Path) -> list[tuple[str, str]]:
    lines = (run_dir / "run.jsonl").read_text(encoding="utf-8").splitlines()
    return [(r["do"], r["outcome"]) for line in lines if (r := json.loads(line))["type"] == "action"]


def test_an_update_is_left_out_on_both_ranks_where_one_had_a_poisoned_batch(ended: Path):
    facts = on_both(ended, "skip")
    assert facts["step"] == 30
    assert "nan" not in facts["weights"]
    assert actions_in(ended / "skip") == [("skip_step", "done")]


def test_both_ranks_go_back_at_the_same_step(ended: Path):
    facts = on_both(ended, "rewind")
    went_back = next(place for place, step in enumerate(facts["trail"]) if place and step < facts["trail"][place - 1])
    assert facts["trail"][went_back] == 15
    assert went_back < 18 + 5, "a few steps after the poisoned one: the sum over ranks is a step late"
    assert facts["step"] == 30
    assert "nan" not in facts["weights"]
    assert actions_in(ended / "rewind") == [("rewind", "done")]
    found = list(read_run(ended / "rewind"))
    assert [sample.step for sample in found] == list(range(1, 31))
    assert [sample.tokens_seen for sample in found] == [16 * step for step in range(1, 31)]
    assert all(math.isfinite(sample.metrics["loss"]) for sample in found)


def test_both_ranks_stop_at_the_same_step(ended: Path):
    facts = on_both(ended, "stop")
    assert 18 <= facts["step"] < 23
    assert facts["status"] == 9


def test_where_one_rank_cannot_go_back_both_stop_for_they_are_no_longer_the_same(ended: Path):
    first, second = (json.loads((ended / f"fails-{rank}.json").read_text()) for rank in (0, 1))
    assert first["trail"] == second["trail"]
    assert first["step"] < 23
    assert actions_in(ended / "fails") == [("rewind", "failed: on another rank"), ("stop", "done")]


def test_a_pause_holds_on_both_ranks(ended: Path):
    facts = on_both(ended, "paused")
    assert actions_in(ended / "paused") == [("skip_step", "paused")]
    assert "nan" in facts["weights"]


def test_both_ranks_of_a_job_that_is_started_anew_go_on_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "plan.json"))
    ranks = start_ranks(PROGRAM, [tmp_path, "restart"], tmp_path)
    statuses = [rank.wait(100) for rank in ranks]
    assert statuses == [EXIT_STATUS] * 2, (tmp_path / "output0").read_text()[-3000:]
    run_ranks(PROGRAM, [tmp_path, "restart"], tmp_path, limit_s=100)
    facts = on_both(tmp_path, "restart")
    assert facts["trail"] == list(range(16, 31))
    assert facts["read"] == 15 + 8 + 15
    assert "nan" not in facts["weights"]
    rates = {sample.metrics["learning_rate"] for sample in read_run(tmp_path / "restart") if sample.step == 16}
    assert rates == {0.5e-2}
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize("framework", ["hf", "lightning"])
def test_trainers_go_back_on_both_ranks(ended: Path, framework: str):
    facts = on_both(ended, framework)
    assert facts["step"] == 30
    assert "nan" not in facts["weights"]
    run_dir = ended / framework / "run"
    assert sorted(actions_in(run_dir)) == [("checkpoint", "done"), ("rewind", "done")]
    found = list(read_run(run_dir))
    assert [sample.step for sample in found] == list(range(1, 31))
    assert all(math.isfinite(sample.metrics["loss"]) for sample in found)
