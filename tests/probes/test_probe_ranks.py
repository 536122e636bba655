"""Probes under several real processes on gloo: DDP, FSDP2, trouble on one rank."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from forked import run_ranks, start_ranks

from pretrain_monitor import read_run
from tests.probes import probe_rank_programs
from tests.probes.watched_loops import rounds

PROGRAM = Path(probe_rank_programs.__file__)
pytestmark = pytest.mark.slow

SCENARIOS = (
    "early", "numbers", "neutral_ddp", "neutral_fsdp", "raising", "raising_fsdp", "memory", "rank_0_alone",
    "broken_writer", "told_by_rank_0", "asked_twice",
)  # fmt: skip
ENOUGH = "RuntimeError: this rank has had enough"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """All scenarios that end well, one after the other in one pair of processes."""
    directory = tmp_path_factory.mktemp("two")
    run_ranks(PROGRAM, [directory, *SCENARIOS], directory, limit_s=250)
    return directory


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    directory = tmp_path_factory.mktemp("three")
    run_ranks(PROGRAM, [directory, "numbers"], directory, ranks=3, limit_s=250)
    return directory


def seen(directory, scenario, ranks=2):
    return [json.loads((directory / scenario / f"rank{rank}.json").read_text()) for rank in range(ranks)]


def said(directory, scenario, rank=0):
    return (directory / scenario / f"said{rank}").read_text().splitlines()


def is_undisturbed(training, bare):
    return all(training[what] == bare[what] for what in ("weights", "losses", "random"))


@pytest.mark.parametrize(("processes", "ranks"), [("two", 2), ("three", 3)])
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_several_processes_find_what_one_finds(processes, ranks, kind, request):
    found = seen(request.getfixturevalue(processes), "numbers", ranks)
    model = probe_rank_programs.build("whole")
    for name, probe in probe_rank_programs.probes_of_all_sizes().items():
        alone = probe(model)
        for rank in found:
            both = rank[f"{kind} {name}"]
            assert both["metrics"] == pytest.approx(dict(alone), rel=0, abs=1e-6)
            for part, scores in alone.scores.items():
                nats, tokens, sizes = both["scores"][part]
                assert np.abs(np.array(nats) - scores.nats).max() < 1e-6
                assert (tokens, sizes) == (scores.tokens.tolist(), scores.bytes.tolist())


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_training_on_two_ranks_is_bitwise_the_same_with_and_without_probes(two, kind):
    for rank in seen(two, f"neutral_{kind}"):
        assert is_undisturbed(rank["probed"], rank["bare"])
    steps = [step for step, _ in rounds(two / f"neutral_{kind}" / "run")]
    assert steps[:8] == [0, 1, 2, 4, 8, 10, 15, 20]
    assert said(two, f"neutral_{kind}") == []


def test_a_model_spread_over_ranks_is_spread_again_after_each_round(two):
    # Otherwise the root would keep all its weights in memory until the next backward pass.
    assert all(rank["is_spread_after_each_round"] for rank in seen(two, "neutral_fsdp"))


@pytest.mark.parametrize("kind", ["", "_fsdp"])
def test_what_raises_on_one_rank_is_switched_off_on_all_and_training_goes_on(two, kind):
    for rank in seen(two, f"raising{kind}"):
        for name in {"before", "after", "entering", "leaving"} | ({"inside"} if kind else {"alone", "texts"}):
            assert is_undisturbed(rank[name], rank["bare"])
            off, other = rank[name]["calls"]
            # The other probe goes on, unless it cannot measure this model either.
            assert (off, other) == (1, 1 if name in ("inside", "entering", "leaving") else 8)


def test_one_line_says_what_happened_on_which_rank(two):
    heldout, tasks = (
        f"probe {name} at step 0: on rank 1: {ENOUGH}; it is switched off, training goes on"
        for name in ("heldout", "tasks")
    )
    assert said(two, "raising") == [
        heldout,
        heldout,
        f"probe nasty at step 0: on rank 1: {ENOUGH}; it is switched off, training goes on",
        "probe heldout at step 0: the ranks were given different texts: give each of them the same ones in the same "
        "order; it is switched off, training goes on",
        *[heldout, tasks] * 2,
    ]
    broken = "on rank 1: ValueError: mat1 and mat2; it is switched off, training goes on"
    assert said(two, "raising_fsdp") == [
        heldout, heldout, f"probe heldout at step 0: {broken}", f"probe tasks at step 0: {broken}",
        *[heldout, tasks] * 2,
    ]  # fmt: skip
    assert said(two, "raising", 1) == said(two, "raising_fsdp", 1) == []


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_memory_that_ends_on_one_rank_is_asked_for_less(two, kind):
    for rank in seen(two, "memory"):
        assert is_undisturbed(rank[f"{kind} 1"], rank[f"{kind} bare"])
        assert rank[f"{kind} 1"]["calls"] == 7
    first, *_ = [sample for sample in read_run(two / "memory" / f"{kind}1" / "run") if "loss" not in sample.metrics]
    alone = probe_rank_programs.perplexity()(probe_rank_programs.build("whole"))
    assert dict(first.metrics) == pytest.approx(dict(alone), rel=0, abs=1e-5)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_probe_without_memory_for_a_row_on_one_rank_is_given_up_on_all(two, kind):
    for rank in seen(two, "memory"):
        assert is_undisturbed(rank[f"{kind} 0"], rank[f"{kind} bare"])
        assert rank[f"{kind} 0"]["calls"] == 1


def test_ranks_that_compute_together_take_smaller_batches_together_and_say_so_once(two):
    half, quarter = (
        f"a probe ran out of memory and goes on with a {part} of the batch" for part in ("half", "quarter")
    )
    own = [[line for line in said(two, "memory", rank) if line in (half, quarter)] for rank in (0, 1)]
    # Rank 0 has enough for itself: it is halved only where all go together.
    assert own[0] == [half, quarter]
    assert own[1] == [half, quarter] * 3


def test_probes_that_only_rank_0_has_are_switched_off_with_a_line(two):
    rank_0, rank_1 = seen(two, "rank_0_alone")
    for name in ("monitor", "probes"):
        assert is_undisturbed(rank_0[name], rank_0["bare"])
        assert is_undisturbed(rank_1[name], rank_1["bare"])
        assert rank_0[name]["calls"] == 0
    lines = [line for line in said(two, "rank_0_alone") if "switched off" in line]
    assert lines == ["the probes are switched off: not every rank runs them; give all ranks the same monitor"] * 2


def test_a_checkpoint_that_only_rank_0_tells_of_is_not_probed(two):
    for rank in seen(two, "rank_0_alone"):
        assert is_undisturbed(rank["checkpoint"], rank["bare"])
        assert rank["checkpoint"]["calls"] == 8
    assert said(two, "rank_0_alone")[-1] == (
        "checkpoints are no longer probed: not every rank says that they are saved (step 5)"
    )


def test_what_fails_on_rank_0_alone_keeps_nobody_waiting(two):
    for rank in seen(two, "broken_writer"):
        for name in ("tell", "recall"):
            assert is_undisturbed(rank[name], rank["bare"])
        assert [rank[name]["calls"] for name in ("tell", "recall")] == [1, 0]
    assert said(two, "broken_writer").count("the probes failed and are switched off; training goes on") == 2


def test_rounds_that_rank_0_decides_on_are_made_by_all_at_the_same_step(two):
    first, second = seen(two, "told_by_rank_0")
    assert first == second
    assert first["tokens"] == [30, 50]
    assert first["incident"] == [360]
    assert 1 <= len(first["budget"]) < 20


def test_a_question_that_is_asked_again_at_the_same_step_is_answered_anew(two):
    assert seen(two, "asked_twice") == [[None, "checkpoint", None, None]] * 2


def test_a_monitor_made_before_the_process_group_probes_from_the_first_step_on(two):
    for rank in seen(two, "early"):
        assert is_undisturbed(rank, rank["bare"])
        assert rank["calls"] == 7
    assert rounds(two / "early" / "run")[0] == (1, "early")
    assert said(two, "early") == ["the probes have no baseline: not all ranks had come to them before the first step"]


def test_a_rank_that_is_killed_in_a_probe_leaves_nobody_waiting(tmp_path):
    # Not by torchrun, which would end the other rank, and hide that it hangs.
    ranks = start_ranks(PROGRAM, [tmp_path, "killed"], tmp_path)
    try:
        assert ranks[1].wait(100) == -9, (tmp_path / "output1").read_text()
        killed_at = time.monotonic()
        assert ranks[0].wait(60) != 0
        took_s = time.monotonic() - killed_at
    finally:
        for rank in ranks:
            rank.kill()
    assert took_s < 30  # the group waits for 20
    assert "the probes failed and are switched off" in (tmp_path / "killed" / "said0").read_text()
