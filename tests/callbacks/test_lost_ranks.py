"""A rank dies or hangs while actions are on: it is reported, and nobody waits longer than the process group does."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lost_ranks
import pytest
from forked import start_ranks
from lost_ranks import LOST_AT, TIMEOUT_S

CASES = [("hangs", "training"), ("dies", "going_back"), ("hangs", "going_back")]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Of each case the exit status of rank 0, what it said, and how long it went on after its last step."""
    return {case: run(tmp_path_factory.mktemp("-".join(case)), *case) for case in CASES}


def run(folder: Path, how: str, where: str) -> dict[str, Any]:
    # Not by torchrun, which would end the other rank, and hide that it hangs.
    ranks = start_ranks(lost_ranks.__file__, [folder / "run", how, where], folder)
    try:
        status = ranks[0].wait(150)
        ended_at = time.time()
    finally:
        for rank in ranks:
            rank.kill()
    records = [json.loads(line) for line in (folder / "run" / "run.jsonl").read_text().splitlines()]
    last_step_at = max(record["time"] for record in records if record["type"] == "sample")
    return {
        "status": status,
        "said": (folder / "output0").read_text(),
        "records": records,
        "took_s": ended_at - last_step_at,
    }


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_run_ends_as_crashed_within_the_timeout(ended: dict[Any, Any], case: tuple[str, str]):
    found = ended[case]
    assert found["status"] != 0
    assert found["records"][-1]["type"] == "end"
    assert found["records"][-1]["reason"] == "crashed: RuntimeError"
    # One timeout for the collective that was under way, and time for a slow machine to take the process down.
    assert found["took_s"] < TIMEOUT_S + 15


def test_nothing_is_done_where_nothing_was_wrong_with_the_loss(ended: dict[Any, Any]):
    records = ended["hangs", "training"]["records"]
    assert [record for record in records if record["type"] == "action"] == []
    assert max(record.get("step", 0) for record in records) >= LOST_AT - 2, "the sum of the last step may be lost"


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_going_back_without_all_ranks_is_recorded_as_failed(ended: dict[Any, Any], how: str):
    found = ended[how, "going_back"]
    actions = [(record["do"], record["outcome"]) for record in found["records"] if record["type"] == "action"]
    assert actions[:2] == [("skip_step", "done"), ("skip_step", "over budget: 1 in 1,000 steps")]
    assert actions[-1] == ("rewind", "failed: not all ranks answer")
    assert "rewind failed, for not all ranks answer" in found["said"]
    assert ("stop", "done") not in actions, "a run that ends well would hide it"
