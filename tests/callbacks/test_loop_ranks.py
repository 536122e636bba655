"""Two real processes on gloo: DDP, FSDP2, trouble on one rank."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rank_programs
from forked import run_ranks, start_ranks

from pretrain_monitor import read_run
from pretrain_monitor.records import read_records

PROGRAM = Path(rank_programs.__file__)
pytestmark = pytest.mark.slow

BOUND_S = 30  # from the failure of one rank to the end of both


def torchrun(directory, *scenarios):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, str(PROGRAM), str(directory), *scenarios],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """The scenarios in which all goes well for the process group, one after the other in one pair of processes."""
    directory = tmp_path_factory.mktemp("healthy")
    scenarios = ("early", "ddp", "fsdp", "broken", "resume", "joining", "late_sum", "announcing", "left_open")
    return directory, run_ranks(PROGRAM, [directory, *scenarios], directory, limit_s=150)


def metrics(run_dir):
    return [dict(sample.metrics) for sample in read_run(run_dir)]


def test_what_rank_0_announces_counts(healthy):
    samples = list(read_run(healthy[0] / "announcing"))
    assert [sample.step for sample in samples] == list(range(1, 9))
    said = [{"text": "said by rank 0", "what": "data_stage", "step": 5}]
    assert [(s.step, s.meta["announced"]) for s in samples if s.meta] == [(5, said)]


@pytest.mark.parametrize("scenario", ["early", "ddp", "fsdp"])
def test_loss_is_that_of_all_tokens_and_the_norm_that_of_the_whole_model(healthy, scenario):
    directory, _ = healthy
    samples = list(read_run(directory / scenario))
    expected = rank_programs.reference()
    assert [sample.step for sample in samples] == list(range(1, rank_programs.STEPS + 1))
    seen_tokens = 0
    for sample, (loss, norm, tokens) in zip(samples, expected, strict=True):
        seen_tokens += tokens
        assert sample.metrics["loss"] == pytest.approx(loss, rel=2e-6)
        assert sample.metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)
        assert sample.metrics["grad_norm"] > rank_programs.CLIP
        assert sample.metrics["learning_rate"] == 0.01
        assert sample.tokens_seen == seen_tokens


def test_the_reference_tells_a_mean_over_tokens_from_a_mean_of_means():
    # Otherwise the test above would not see the difference.
    model = rank_programs.build()
    (first, few), (second, many) = [
        rank_programs.loss_and_tokens(model, rank_programs.local_batch(0, rank)) for rank in (0, 1)
    ]
    assert few != many
    assert (first + second).item() / 2 != pytest.approx(rank_programs.reference()[0][0], rel=1e-4)


def test_the_norm_of_a_sharded_model_costs_one_collective(healthy):
    directory, _ = healthy
    norms = json.loads((directory / "fsdp" / "norms.json").read_text())
    assert [calls for _, calls in norms] == [1] * rank_programs.STEPS
    assert [norm for norm, _ in norms] == pytest.approx([norm for _, norm, _ in rank_programs.reference()], rel=1e-5)


def test_rank_0_alone_writes(healthy):
    directory, _ = healthy
    for scenario in ("early", "ddp", "fsdp"):
        records = list(read_records(directory / scenario / "run.jsonl"))
        kinds = [record["type"] for record in records]
        assert kinds.count("run") == kinds.count("end") == 1
        assert kinds.count("sample") == rank_programs.STEPS


def test_a_broken_value_on_one_rank_neither_hangs_nor_hides_the_others(healthy):
    directory, errors = healthy
    losses = [sample.get("loss") for sample in metrics(directory / "broken")]
    both = (4.0 * 30 + 2.0 * 10) / 40
    assert losses[:5] == [4.0, 4.0, both, 4.0, 4.0]
    assert math.isnan(losses[5])
    assert losses[6] == 3.0  # rank 1 does not know its tokens, so nobody's count
    assert losses[7] == both
    assert "step 2: loss is left out" in errors
    assert "step 7: tokens is left out" in errors
    tokens = [sample.tokens_seen for sample in read_run(directory / "broken")]
    assert tokens == [40, 80, 120, 160, 190, 230, None, None]


def test_tokens_of_both_ranks_are_counted_on_after_a_resume(healthy):
    directory, _ = healthy
    samples = list(read_run(directory / "resume"))
    assert [sample.step for sample in samples] == [1, 2, 3, 4, 5, 6, 7]
    assert [sample.tokens_seen for sample in samples] == [110 * step for step in range(1, 8)]
    assert samples[0].metrics["loss"] == pytest.approx((1 * 10 + 2 * 100) / 110)


def test_a_checkpoint_waits_for_the_sum_under_way(healthy):
    directory, _ = healthy
    assert json.loads((directory / "resume" / "steps_at_checkpoint0.json").read_text()) == 3


def test_all_ranks_get_the_same_answer_to_whether_all_take_part(healthy):
    directory, _ = healthy
    answers = [json.loads((directory / "joining" / f"answers{rank}.json").read_text()) for rank in (0, 1)]
    assert answers == [[True, True, False]] * 2


def test_a_sum_that_does_not_come_is_given_up_and_the_next_one_is_right(healthy):
    directory, _ = healthy
    seen = [json.loads((directory / "late_sum" / f"seen{rank}.json").read_text()) for rank in (0, 1)]
    assert seen == [["not all ranks joined in within 0.2 s", "second", 2.0], [None, "second", 2.0]]


def test_a_monitor_left_open_is_closed_at_exit_with_its_last_step(healthy):
    directory, _ = healthy
    assert [sample["loss"] for sample in metrics(directory / "left_open")] == [1.5] * 5
    *_, last = read_records(directory / "left_open" / "run.jsonl")
    assert (last["type"], last["reason"]) == ("end", "process exit")


def by_hand(directory, scenario):
    """Two processes that nobody ends when one of them fails: what they return and say."""
    processes = start_ranks(PROGRAM, [directory, scenario], directory)
    try:
        codes = [process.wait(120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return codes, [(directory / f"output{rank}").read_text() for rank in (0, 1)]


def seconds_since_failure(run_dir):
    return time.time() - json.loads((run_dir / "failed_at.json").read_text())


def test_a_rank_that_fails_does_not_keep_the_other_from_ending_and_its_log_is_whole(tmp_path):
    codes, errors = by_hand(tmp_path, "raising")
    assert seconds_since_failure(tmp_path / "raising") < BOUND_S
    assert codes[0] != 0 and codes[1] != 0, "the training itself cannot go on without rank 1"
    assert "ValueError: no more data" in errors[1]
    assert [sample.step for sample in read_run(tmp_path / "raising")] == [1, 2, 3, 4, 5]
    *_, last = read_records(tmp_path / "raising" / "run.jsonl")
    assert last["type"] == "end" and last["reason"].startswith("crashed: ")


def test_where_only_the_monitor_needs_the_lost_rank_the_run_goes_on_without_it(tmp_path):
    codes, errors = by_hand(tmp_path, "leaving")
    assert seconds_since_failure(tmp_path / "leaving") < BOUND_S
    assert (codes[0], json.loads((tmp_path / "leaving" / "finished.json").read_text())) == (0, rank_programs.STEPS)
    assert errors[0].count("the process group failed") == 1
    samples = list(read_run(tmp_path / "leaving"))
    assert [sample.metrics["loss"] for sample in samples[:4]] == [1.5] * 4
    # The sum that was under way is lost with the rank, and at most the step in which that came out.
    assert len(samples) >= rank_programs.STEPS - 2
    after = [sample for sample in samples if sample.step > 6]
    assert {(sample.metrics["loss"], sample.tokens_seen) for sample in after} == {(1.0, None)}
    assert after[-1].step == rank_programs.STEPS


def test_under_torchrun_a_failing_rank_ends_the_job(tmp_path):
    ended = torchrun(tmp_path, "raising")
    assert ended.returncode != 0
    assert seconds_since_failure(tmp_path / "raising") < BOUND_S
    assert [sample.step for sample in read_run(tmp_path / "raising")][:4] == [1, 2, 3, 4]


def test_a_program_that_reports_from_rank_0_alone_does_not_hang(tmp_path):
    said = run_ranks(PROGRAM, [tmp_path, "rank_0_alone"], tmp_path, limit_s=150)
    assert "not every rank reports its steps" in said
    assert said.count("grad_norm is left out: it is spread over ranks") == 1
    samples = list(read_run(tmp_path / "rank_0_alone"))
    assert [(sample.metrics, sample.tokens_seen) for sample in samples] == [({"loss": 2.0}, None)] * 3
    for rank in (0, 1):
        assert json.loads((tmp_path / "rank_0_alone" / f"sum{rank}.json").read_text()) == 2.0
