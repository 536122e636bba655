"""``pretrain-monitor run``: real jobs that are started anew, end, are killed, or are no jobs at all."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import test_lightning_actions
from command import COMMAND, cli, is_one_line
from forked import FRAMEWORKS, forker
from lightning_parts import fingerprint
from test_huggingface_actions import InOrder, actions_in, data
from test_loop_actions import Loop
from tiny_hf import samples, trainer, weights_hash

from pretrain_monitor import read_run
from pretrain_monitor.actions.plan import EXIT_STATUS, VARIABLE

pytestmark = test_lightning_actions.pytestmark
HERE = Path(__file__).parent


def supervised(folder: Path, *job: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    command = [*COMMAND, "run", "--plan", str(folder / "plan.json"), *options, "--", *job]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


GONE = 8  # steps' worth of data that is left out


def restarted(folder: Path, kind: str, *, steps: int = 30) -> dict[str, Any]:
    """One training that was started anew; the record of its going back."""
    program = HERE / "restarted.py"
    # What `pretrain-monitor run` does, in processes that begin faster.
    env = {VARIABLE: str(folder / "plan.json")}
    for status in (EXIT_STATUS, 0):
        done = forker(*FRAMEWORKS).run(program, [kind, folder, GONE], env=env, timeout=200)
        assert done.returncode == status, done.stderr[-3000:]
    assert (folder / "starts0").read_text() == "xx"
    assert not (folder / "plan.json").exists()
    run_dir = next(path.parent for path in folder.rglob("run.jsonl"))
    (record,) = (one for one in records(run_dir) if one["type"] == "action")
    assert (record["do"], record["outcome"], record["step"]) == ("rewind", "done", 15)
    assert [sample.step for sample in read_run(run_dir)] == list(range(1, steps + 1))
    assert all(math.isfinite(sample.metrics["loss"]) for sample in read_run(run_dir))
    return record


def records(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "run.jsonl").read_text(encoding="utf-8").splitlines()
    newest = max(place for place, line in enumerate(lines) if '"type":"run"' in line)
    return [json.loads(line) for line in lines[newest:]]


@pytest.mark.slow
def test_a_new_process_goes_on_from_the_checkpoint_with_other_data(tmp_path: Path):
    assert restarted(tmp_path, "hf")["details"]["skipped_steps"] == GONE
    whole = data(60)
    reference = trainer(tmp_path / "b", data=whole[:30] + whole[30 + 2 * GONE :], kind=InOrder, max_steps=30)
    reference.train()
    assert (tmp_path / "weights0").read_text() == weights_hash(reference.model)


@pytest.mark.slow
def test_so_it_does_in_lightning(tmp_path: Path):
    assert restarted(tmp_path, "lightning")["details"]["skipped_steps"] == GONE
    whole = test_lightning_actions.data(60)
    seen = whole[: 4 * 15] + whole[4 * (15 + GONE) :]
    _, model = test_lightning_actions.run(tmp_path / "b", seen, max_steps=30)
    assert (tmp_path / "weights0").read_text() == fingerprint(model)


@pytest.mark.slow
def test_in_lightning_the_last_batch_of_a_pass_is_not_left_out_but_more_of_the_next(tmp_path: Path):
    assert restarted(tmp_path, "short_pass", steps=25)["details"]["skipped_steps"] == GONE
    whole = test_lightning_actions.data(20)
    seen = whole[: 4 * 15] + whole[4 * 19 :] + whole[4 * 4 :]
    _, model = test_lightning_actions.run(tmp_path / "b", seen, max_steps=25)
    assert (tmp_path / "weights0").read_text() == fingerprint(model)


@pytest.mark.slow
def test_so_it_does_in_a_loop_that_asks_where_it_is(tmp_path: Path):
    assert restarted(tmp_path, "loop")["details"]["skipped_steps"] == GONE
    reference = Loop(tmp_path / "b", left_out=range(16, 16 + GONE), steps=30)
    assert (tmp_path / "weights0").read_text() == str([one.tolist() for one in reference.model.parameters()])


@pytest.mark.slow
def test_the_ranks_of_torchrun_are_started_anew_together(tmp_path: Path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = supervised(tmp_path, *torchrun, str(HERE / "restarted.py"), "hf", str(tmp_path), "8")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "started anew from the checkpoint of step 15" in done.stderr
    assert [(tmp_path / f"starts{rank}").read_text() for rank in (0, 1)] == ["xx", "xx"]
    assert (tmp_path / "weights0").read_text() == (tmp_path / "weights1").read_text()
    (record,) = actions_in(tmp_path)
    assert (record["do"], record["outcome"], record["step"]) == ("rewind", "done", 15)
    assert record["details"]["skipped_steps"] == 8
    assert [sample.step for sample in samples(tmp_path)] == list(range(1, 31))
    assert all(math.isfinite(sample.metrics["loss"]) for sample in samples(tmp_path))


def test_the_exit_status_is_that_of_the_job(tmp_path: Path):
    assert supervised(tmp_path, sys.executable, "-c", "raise SystemExit(7)").returncode == 7
    assert supervised(tmp_path, sys.executable, "-c", "pass").returncode == 0
    killed = supervised(tmp_path, sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert killed.returncode == 128 + 9


def test_a_job_is_started_anew_so_often_at_most(tmp_path: Path):
    job = (
        "import os, pathlib, sys\n"
        "from pretrain_monitor.actions.orders import Order\n"
        "from pretrain_monitor.actions.plan import plan_path, write_plan\n"
        "print('started', flush=True)\n"
        "write_plan(plan_path(), Order('rewind', 9, 'why', '', {'checkpoint': 'x', 'to_step': 5}))\n"
        "sys.exit(75)\n"
    )
    done = supervised(tmp_path, sys.executable, "-c", job, options=("--restarts", "2"))
    assert done.returncode == 75
    assert done.stdout.count("started") == 3
    assert "has been started anew 2 times: left as it is" in done.stderr
    again = supervised(tmp_path, sys.executable, "-c", job)
    assert is_one_line(again, "a plan that an earlier job has left; delete it, or name another file with --plan")


def test_a_signal_reaches_the_job(tmp_path: Path):
    job = "import time, sys\nprint('there', flush=True)\ntime.sleep(60)"
    command = [*COMMAND, "run", "--plan", str(tmp_path / "plan.json"), "--", sys.executable, "-c", job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 15


def test_a_job_that_is_told_to_end_is_not_started_anew(tmp_path: Path):
    job = (
        "import signal, sys, time\n"
        "from pretrain_monitor.actions.orders import Order\n"
        "from pretrain_monitor.actions.plan import plan_path, write_plan\n"
        "write_plan(plan_path(), Order('rewind', 9, 'why', '', {'checkpoint': 'x', 'to_step': 5}))\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "print('there', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [*COMMAND, "run", "--plan", str(tmp_path / "plan.json"), "--", sys.executable, "-c", job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 3


def test_a_plan_that_could_not_be_written_is_refused_at_the_start(tmp_path: Path):
    done = cli("run", "--plan", tmp_path / "missing" / "plan.json", "--", sys.executable, "-c", "print('started')")
    assert is_one_line(done, "no such directory: name a file that the job can write, with --plan")


def test_what_is_no_command_is_one_line():
    assert is_one_line(cli("run", "--", "no-such-command-anywhere"), "no-such-command-anywhere: cannot be started")
