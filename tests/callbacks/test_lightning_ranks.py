"""Two real processes on gloo; what they train and write is in lightning_ranks.py."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from forked import start_ranks

from pretrain_monitor import read_run
from pretrain_monitor.records import read_records

PROGRAM = Path(__file__).parent / "lightning_ranks.py"
TOKENS = [(32, 32 - 8 * (1 + step % 2)) for step in range(6)]  # that are no padding, on each rank


def run_two(scenario: str, directory: Path, *, limit_s: float) -> list[subprocess.CompletedProcess]:
    """Start both ranks; both must end within ``limit_s`` seconds, however they end."""
    ranks = start_ranks(PROGRAM, [scenario, directory], directory)
    deadline = time.monotonic() + limit_s
    try:
        codes = [rank.wait(max(0.1, deadline - time.monotonic())) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    texts = [(directory / f"output{rank}").read_text() for rank in (0, 1)]
    return [subprocess.CompletedProcess([scenario], code, text) for code, text in zip(codes, texts, strict=True)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ranks")
    ended = run_two("train", directory, limit_s=240)
    assert [run.returncode for run in ended] == [0, 0], "\n".join(run.stdout for run in ended)
    return directory


@pytest.fixture(scope="module")
def ranks(directory):
    return [json.loads((directory / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def samples(ranks, name, column):
    return [sample["metrics"][column] for sample in ranks[0][name]["samples"]]


@pytest.mark.parametrize("name", ["ddp", "plain", "sharded", "sharded and clipped"])
def test_loss_is_the_mean_over_the_tokens_of_both_ranks(ranks, name):
    losses = zip(ranks[0][name]["losses"], ranks[1][name]["losses"], strict=True)
    truth = [(a * n + b * m) / (n + m) for (a, b), (n, m) in zip(losses, TOKENS, strict=True)]
    assert samples(ranks, name, "loss") == pytest.approx(truth, rel=1e-6)
    # The data tell the two means apart.
    assert truth != pytest.approx(
        [sum(pair) / 2 for pair in zip(*(r[name]["losses"] for r in ranks), strict=True)], rel=1e-5
    )


def test_loss_over_accumulated_batches_is_that_of_both_ranks_too(ranks):
    halves = [[sum(r["accumulated"]["losses"][k : k + 2]) / 2 for k in (0, 2, 4)] for r in ranks]
    truth = [(64 * a + 40 * b) / 104 for a, b in zip(*halves, strict=True)]
    assert samples(ranks, "accumulated", "loss") == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("name", ["plain", "sharded", "sharded and clipped"])
def test_the_norm_is_that_of_the_whole_model_trained_in_one_process(ranks, name):
    assert samples(ranks, name, "grad_norm") == pytest.approx(ranks[0]["reference"]["norms"], rel=1e-5)


def test_the_norm_of_a_sharded_model_costs_one_collective(ranks):
    for rank in ranks:
        assert rank["sharded"]["all_dtensors"]
        assert rank["sharded"]["collectives"] == [1] * 6


def test_tokens_are_summed_over_the_ranks(ranks):
    total, truth = 0, []
    for step in TOKENS:
        total += sum(step)
        truth.append(total)
    for name in ("plain", "sharded"):
        assert [sample["tokens_seen"] for sample in ranks[0][name]["samples"]] == truth


def test_ranks_that_share_a_batch_count_its_tokens_once(ranks):
    seen = [sample["tokens_seen"] for sample in ranks[0]["tensor parallel"]["samples"]]
    assert seen == [32, 64, 96, 128, 160, 192]


def test_rank_0_alone_observes_and_writes(directory, ranks):
    for name in ("ddp", "accumulated", "sharded", "tensor parallel"):
        assert ranks[0][name]["has_directory"] and not ranks[1][name]["has_directory"]
        assert ranks[1][name]["samples"] == []
    steps = [sample.step for sample in read_run(directory / "sharded" / "rank0")]
    assert steps == [sample["step"] for sample in ranks[0]["sharded"]["samples"]] == [1, 2, 3, 4, 5, 6]


def test_training_on_two_ranks_is_bitwise_the_same_with_and_without_the_monitor(ranks):
    for rank in ranks:
        watched, bare = rank["fingerprints"]
        assert watched == bare


def test_what_fails_on_one_rank_alone_costs_its_part_and_holds_nobody_up(ranks):
    assert samples(ranks, "one rank cannot count", "loss") == samples(ranks, "plain", "loss")
    assert ["tokens_seen" in sample for sample in ranks[0]["one rank cannot count"]["samples"]] == [False] * 6
    assert samples(ranks, "one rank cannot read", "loss") == pytest.approx(ranks[0]["plain"]["losses"], rel=1e-6)
    assert len(ranks[1]["one rank cannot read"]["losses"]) == 6


def test_a_rank_that_raises_does_not_leave_the_other_waiting(tmp_path):
    ended = run_two("crash", tmp_path, limit_s=120)  # gloo alone would wait for half an hour
    assert [run.returncode for run in ended] == [1, 1]
    assert "KeyError: 'rank 1 only'" in ended[1].stdout
    log = tmp_path / "crash" / "rank0"
    assert [sample.step for sample in read_run(log)][:3] == [1, 2, 3]
    assert [r["reason"] for r in read_records(log / "run.jsonl") if r["type"] == "end"] == ["crashed: RuntimeError"]
