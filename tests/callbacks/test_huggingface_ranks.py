"""Two real processes on gloo with DDP; what they train is in hf_ranks.py."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_hf
from forked import run_ranks, start_ranks

PROGRAM = Path(__file__).parent / "hf_ranks.py"
HEALTHY = (
    "attached", "own-tokens", "counting", "saving", "unattached", "unattached-own-tokens", "unattached-means",
    "dropout", "dropout-bare", "blind-rank",
)  # fmt: skip
STEPS, FAILS_AFTER = 7, 5


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All scenarios that end well, one after the other in one pair of processes."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(PROGRAM, [folder, *HEALTHY], folder, limit_s=200)
    return folder


def seen(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"rank{rank}.json").read_text())


def logged(folder: Path, signal: str) -> list[float]:
    return [entry[signal] for entry in seen(folder, 0)["log"] if signal in entry]


@pytest.mark.parametrize("scenario", [name for name in HEALTHY if name not in ("dropout-bare", "blind-rank")])
def test_each_step_is_exactly_what_the_trainer_logs_for_all_ranks(healthy: Path, scenario: str) -> None:
    folder = healthy / scenario
    assert [sample.step for sample in tiny_hf.samples(folder)] == list(range(1, STEPS + 1))
    for signal in ("loss", "grad_norm", "learning_rate"):
        assert tiny_hf.column(folder, signal) == logged(folder, signal)


def test_tokens_of_both_ranks_are_counted_once(healthy: Path) -> None:
    counted = [sample.tokens_seen for sample in tiny_hf.samples(healthy / "counting")]
    assert counted == logged(healthy / "counting", "num_input_tokens_seen")[:STEPS]
    for scenario in ("attached", "unattached"):
        assert [sample.tokens_seen for sample in tiny_hf.samples(healthy / scenario)] == counted
    assert {sample.tokens_seen for sample in tiny_hf.samples(healthy / "unattached-means")} == {None}


def test_rank_0_alone_observes_and_writes(healthy: Path) -> None:
    for scenario in HEALTHY[:-2]:
        assert [seen(healthy / scenario, rank)["wrote"] for rank in (0, 1)] == [STEPS, None]
        lines = (healthy / scenario / "run" / "run.jsonl").read_text().splitlines()
        assert [json.loads(line)["type"] for line in lines] == ["run", *["sample"] * STEPS, "end"]


def test_watching_changes_no_bit_on_any_rank(healthy: Path) -> None:
    hashes = {seen(healthy / name, rank)["hash"] for name in ("dropout", "dropout-bare") for rank in (0, 1)}
    assert len(hashes) == 1


def test_a_rank_that_cannot_read_its_loss_keeps_nobody_waiting(healthy: Path) -> None:
    samples = tiny_hf.samples(healthy / "blind-rank")
    assert [sample.step for sample in samples] == list(range(1, STEPS + 1))
    norms = tiny_hf.column(healthy / "blind-rank", "grad_norm")
    assert norms == logged(healthy / "attached", "grad_norm")


def test_a_rank_that_raises_does_not_make_the_other_hang(tmp_path: Path) -> None:
    # Not by torchrun, which would end the other rank, and hide that it hangs.
    ranks = start_ranks(PROGRAM, [tmp_path, "failing-rank"], tmp_path)
    try:
        codes = {1: ranks[1].wait(150)}
        failed_at = time.monotonic()
        codes[0] = ranks[0].wait(30)
        took_s = time.monotonic() - failed_at
    finally:
        for rank in ranks:
            rank.kill()

    assert "this rank has had enough" in (tmp_path / "output1").read_text()
    assert codes[0] != 0 and codes[1] != 0 and took_s < 30
    folder = tmp_path / "failing-rank"
    assert [sample.step for sample in tiny_hf.samples(folder)] == list(range(1, FAILS_AFTER + 1))
    last = json.loads((folder / "run" / "run.jsonl").read_text().splitlines()[-1])
    assert last["type"] == "end" and last["reason"].startswith("crashed: ")
