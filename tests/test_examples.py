"""Every example, shortened, as the command that it names itself."""

import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from forked import FRAMEWORKS, forker

from pretrain_monitor import read_run

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "tiny")
STEPS = 12

pytestmark = pytest.mark.slow


def command_in(program):
    """The first indented line of the docstring, as a list of words."""
    return shlex.split(re.search(r"^    (\S.*)$", program.read_text(), re.MULTILINE)[1])


def test_there_is_an_example_for_each_kind_of_loop():
    assert [path.stem for path in PROGRAMS] == [
        "fabric_loop", "hf_trainer", "lightning_module", "probes", "pytorch_loop", "torchrun_ddp",
    ]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(program):
    lines = program.read_text().splitlines()
    assert len(lines) < 80
    assert lines[0].startswith('"""')
    launcher, *words = command_in(program)
    assert launcher in ("python", "torchrun")
    assert f"examples/{program.name}" in words
    assert words[-4:] == ["--steps", "400", "--run-dir", f"runs/{program.stem}"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_logs_every_step_with_loss_norm_and_rate(program, tmp_path):
    launcher, *words = command_in(program)
    words = [str(program) if word.startswith("examples/") else word for word in words[:-4]]
    words += ["--steps", str(STEPS), "--run-dir", str(tmp_path / "run")]
    env = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if launcher == "python":
        ended = forker(*FRAMEWORKS).run(words[0], words[1:], env=env, cwd=tmp_path, timeout=240)
    else:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        ended = subprocess.run(
            [*torchrun, *words], cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=240
        )
    samples = [sample for sample in read_run(tmp_path / "run") if "loss" in sample.metrics]
    # gloo's threads now and then abort a process that has finished; what it wrote must be right all the same.
    was_aborted = launcher == "torchrun" and "SIGABRT" in ended.stderr
    assert ended.returncode == 0 or was_aborted, ended.stderr
    assert "Traceback" not in ended.stderr or was_aborted
    assert [sample.step for sample in samples] == list(range(1, STEPS + 1)), ended.stderr
    for sample in samples:
        assert {"loss", "grad_norm", "learning_rate"} <= set(sample.metrics), sample
        assert all(math.isfinite(value) for value in sample.metrics.values())
        assert 0 <= sample.metrics["learning_rate"] <= 3e-3
    assert samples[-1].metrics["loss"] < samples[0].metrics["loss"]
    assert samples[-1].metrics["learning_rate"] > samples[0].metrics["learning_rate"]
    assert samples[0].metrics["loss"] == pytest.approx(math.log(256), abs=0.7)
    assert list((tmp_path / "run").glob("tensorboard/events.*")), "the panels are on unless switched off"
