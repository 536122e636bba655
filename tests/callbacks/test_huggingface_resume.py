from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import hf_killed
import pytest
import tiny_hf
from forked import FRAMEWORKS, forker
from hf_killed import ENDS_AFTER, POISONED_STEPS, STEPS

from pretrain_monitor import replay
from pretrain_monitor.callbacks.huggingface import MonitorCallback


def run_to_its_end(folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    return forker(*FRAMEWORKS).run(hf_killed.__file__, [folder, how], timeout=200)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "run.jsonl").read_text().splitlines()]


def monitored(folder: Path, *, attach: bool) -> tuple[Any, MonitorCallback]:
    monitor = MonitorCallback(folder / "run", tiny_hf.QUIET)
    trainer = hf_killed.trainer(folder, [monitor])
    if attach:
        monitor.attach(trainer)
    return trainer, monitor


@pytest.mark.parametrize("attach", [True, False])
def test_a_killed_and_resumed_run_tells_the_same_as_an_uninterrupted_one(attach: bool, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    trainer, uninterrupted = monitored(whole, attach=attach)
    trainer.train()
    ended = run_to_its_end(resumed, "kill" if attach else "kill-unattached")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    last = records(resumed)[-1]
    # Without attaching, a step waits for its gradient norm until the next one begins.
    assert (last["type"], last["step"]) == ("sample", ENDS_AFTER)

    trainer, monitor = monitored(resumed, attach=attach)
    trainer.train(resume_from_checkpoint=True)

    assert trainer.state.global_step == STEPS
    assert records(resumed).count(last) == 1
    samples = tiny_hf.samples(resumed)
    assert [sample.step for sample in samples] == list(range(1, STEPS + 1))
    assert [sample.step for sample in samples if sample.meta] == [21]
    assert [s.metrics for s in samples] == [s.metrics for s in tiny_hf.samples(whole)]
    assert [s.tokens_seen for s in samples] == [2 * tiny_hf.LENGTH * step for step in range(1, STEPS + 1)]
    told = [incident.to_json() for incident in monitor.incidents]
    assert told == [incident.to_json() for incident in uninterrupted.incidents]
    assert told == [incident.to_json() for incident in replay(resumed / "run")]
    # One poisoned step lies before the checkpoint; the other after it, so that two sessions have seen it.
    first, second = POISONED_STEPS
    assert first < 20 < second < ENDS_AFTER
    alerts = [incident for incident in monitor.incidents if incident.is_alert]
    assert alerts[0].detected_step == first and second in {incident.peak_step for incident in alerts}


def test_an_exception_that_ends_the_process_leaves_a_complete_log(tmp_path: Path) -> None:
    ended = run_to_its_end(tmp_path, "crash-unattached")

    assert ended.returncode == 1 and "RuntimeError: the disk with the data is gone" in ended.stderr
    assert [sample.step for sample in tiny_hf.samples(tmp_path)] == list(range(1, ENDS_AFTER + 1))
    assert records(tmp_path)[-1]["type"] == "end"
    assert records(tmp_path)[-1]["reason"] == "crashed: RuntimeError"
