"""Actions in a loop of one's own, on one process and on two."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain_monitor import Incident, Kind, ListSink, read_run, replay
from pretrain_monitor.actions import Checkpoint, LowerLearningRate, Rewind, SkipStep, Stop
from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.callbacks.rate_factor import RateFactor

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


class Loop:
    """A small model that is trained step by step; a poisoned batch makes its loss NaN."""

    def __init__(
        self, folder: Path, *, poisoned: tuple[int, ...] = (), left_out: Collection[int] = (), steps: int = 30,
        **options: Any,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        self.folder = folder
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.99)
        generator = torch.Generator().manual_seed(1)
        self.data = iter(torch.randn(200, 512, 4, generator=generator))
        self.batch = 0
        self.left_out = left_out
        self.read: list[int] = []
        folder.mkdir(exist_ok=True)
        with LoopMonitor(folder, QUIET, save=self.save, load=self.load, **options) as self.monitor:
            self.read_past(self.monitor.global_step)  # a process that goes on where another one ended
            while self.monitor.global_step < steps and not self.monitor.should_stop:
                self.step(poisoned)

    def step(self, poisoned: tuple[int, ...]) -> None:
        self.read_past(self.monitor.take_steps_to_skip())
        while self.batch + 1 in self.left_out:
            self.read_past(1)
        self.batch += 1
        self.read.append(self.batch)
        loss = (self.model(next(self.data)) - 1).square().mean()
        loss = loss * math.nan if self.batch in poisoned else loss
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not self.monitor.should_skip(norm):
            self.optimizer.step()
        self.schedule.step()
        self.monitor.step(loss=loss, grad_norm=norm, optimizer=self.optimizer, tokens=8)
        if self.monitor.global_step % 5 == 0:
            self.monitor.checkpointed(self.save(self.monitor.global_step))

    def read_past(self, batches: int) -> None:
        for _ in range(batches):
            next(self.data)
            self.batch += 1

    def save(self, step: int) -> Path:
        path = self.folder / f"{step}.pt"
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule")}
        torch.save(parts, path)
        return path

    def load(self, path: str) -> None:
        for name, state in torch.load(path).items():
            getattr(self, name).load_state_dict(state)


def actions_in(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["type"] == "action"]


def test_where_no_more_updates_may_be_left_out_the_run_goes_back_to_before_the_one_that_destroys_it(tmp_path: Path):
    loop = Loop(tmp_path, poisoned=(18, 19), actions=[SkipStep(at_most=1), Rewind()])
    done = [(record["do"], record["outcome"]) for record in actions_in(tmp_path)]
    assert done == [("skip_step", "done"), ("skip_step", "over budget: 1 in 1,000 steps"), ("rewind", "done")]
    assert actions_in(tmp_path)[-1]["details"]["to_step"] == 15
    assert loop.read == sorted(set(loop.read)), "what led into it is not read again"
    assert loop.model.weight.isfinite().all()


def test_a_checkpoint_that_is_written_over_is_of_its_newest_step_only(tmp_path: Path):
    class Overwriting(Loop):
        def save(self, step: int) -> Path:
            path = super().save(step)
            return path.replace(path.with_name("latest.pt"))

    Overwriting(tmp_path, poisoned=(16,), actions=[Rewind()])
    assert actions_in(tmp_path)[0]["details"]["to_step"] == 15, "what was saved at step 10 is no more"


def test_a_rate_that_was_lowered_in_steps_that_are_given_up_is_as_it_was(tmp_path: Path):
    factor = RateFactor()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    factor.lower([optimizer], 0.5, step=100, ramp_steps=100)
    factor.advance(150)
    assert factor.lower([optimizer], 0.5, step=150) == 0.375
    factor.rewound(125, [optimizer])
    assert factor.value == 0.625, "on the way back from the first"
    factor.advance(200)
    assert factor.value == 1.0
    factor.rewound(125, [optimizer])
    assert factor.value == 0.625
    factor.rewound(99, [optimizer])
    assert factor.value == 1.0
    factor.detach()


def test_a_loop_that_does_not_ask_what_to_leave_out_is_told_once(tmp_path: Path, caplog: Any):
    class Deaf(Loop):
        def read_past(self, batches: int) -> None:
            if not self.monitor.global_step:
                super().read_past(batches)

        def step(self, poisoned: tuple[int, ...]) -> None:
            kept, self.monitor.take_steps_to_skip = self.monitor.take_steps_to_skip, lambda: 0  # type: ignore[method-assign]
            super().step(poisoned)
            self.monitor.take_steps_to_skip = kept  # type: ignore[method-assign]

    Deaf(tmp_path, poisoned=(18,), actions=[Rewind(skip_steps=8)])
    said = [record.message for record in caplog.records if "leaving out" in record.message]
    assert said == ["step 16 was made without leaving out data of 5 steps: ask take_steps_to_skip() before each step"]


def test_an_update_is_left_out_where_the_loop_asks(tmp_path: Path):
    loop = Loop(tmp_path, poisoned=(5,), actions=[SkipStep()])
    assert all(parameter.isfinite().all() for parameter in loop.model.parameters())
    (record,) = actions_in(tmp_path)
    assert (record["do"], record["details"]) == ("skip_step", {"step": 5})
    assert loop.monitor.incidents[0].advice.startswith("The updates were left out, so the weights have not seen it")
    assert replay(tmp_path)[0].to_json() == loop.monitor.incidents[0].to_json()


def test_a_loop_goes_back_and_on_with_other_data(tmp_path: Path):
    sink = ListSink()
    loop = Loop(tmp_path, poisoned=(18,), actions=[Rewind(skip_steps=7)], sinks=[sink])
    assert loop.monitor.global_step == 30
    assert loop.read == [*range(1, 19), *range(23, 38)], "of steps 16 to 22 nothing is left"
    (record,) = actions_in(tmp_path)
    assert (record["details"]["from_step"], record["details"]["skipped_steps"]) == (18, 7)
    assert Incident.from_json(record["details"]["about"]).kind is Kind.NONFINITE
    found = list(read_run(tmp_path))
    assert [sample.step for sample in found] == list(range(1, 31))
    assert [sample.tokens_seen for sample in found] == [8 * step for step in range(1, 31)]
    rates = [sample.metrics["learning_rate"] for sample in found]
    assert rates == pytest.approx([1e-2 * 0.99**step for step in range(30)])
    assert all(math.isfinite(sample.metrics["loss"]) for sample in found)
    assert not loop.monitor.incidents, "what was undone is no incident of this run"


def test_after_going_back_detection_is_what_a_replay_of_the_log_finds(tmp_path: Path):
    from pretrain_monitor import replay

    loop = Loop(tmp_path, poisoned=(18, 40), steps=60, actions=[Rewind(at_most=1)])
    assert [repr(one) for one in replay(tmp_path)] == [repr(one) for one in loop.monitor.incidents]
    assert [incident.onset_step for incident in loop.monitor.incidents] == [37], "the second time it is over budget"


def test_a_loop_is_stopped_with_a_checkpoint(tmp_path: Path):
    loop = Loop(tmp_path, poisoned=(12,), actions=[Stop(exit_status=3)])
    assert (loop.monitor.global_step, loop.monitor.exit_status) == (12, 3)
    assert (tmp_path / "12.pt").exists()


def test_the_last_good_checkpoint_is_kept_and_one_is_saved(tmp_path: Path):
    Loop(tmp_path, poisoned=(12,), actions=[Checkpoint(), SkipStep()])
    assert (tmp_path / "kept" / "10.pt").exists()
    assert (tmp_path / "12.pt").exists()


def test_the_rate_is_lowered_for_a_scheduler_that_goes_by_the_present_rate(tmp_path: Path):
    lower = LowerLearningRate(when="nonfinite", factor=0.5, ramp_steps=4)
    loop = Loop(tmp_path, poisoned=(10,), actions=[lower])
    rates = [sample.metrics["learning_rate"] for sample in read_run(tmp_path)]
    share = [rate / (1e-2 * 0.99**step) for step, rate in enumerate(rates)]
    assert share == pytest.approx([1.0] * 10 + [0.5, 0.625, 0.75, 0.875] + [1.0] * 16)
    assert loop.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.99**30)


def test_without_a_way_to_load_it_is_said_at_the_start_and_at_the_time(tmp_path: Path, caplog: Any):
    with LoopMonitor(tmp_path, QUIET, actions=[Rewind(then="tell")]) as monitor:
        for step in range(1, 8):
            monitor.step(loss=math.nan if step == 5 else 1.0)
            monitor.checkpointed(tmp_path)
    assert "rewind: there is no way back without LoopMonitor(..., load=...)" in caplog.text
    (record,) = actions_in(tmp_path)
    assert record["outcome"].startswith("refused: there is no LoopMonitor(..., load=...)")


def test_a_loader_that_fails_ends_nothing(tmp_path: Path):
    class Broken(Loop):
        def load(self, path: str) -> None:
            raise RuntimeError("no room")

    loop = Broken(tmp_path / "a", poisoned=(7,), actions=[Rewind(then="tell")])
    assert loop.monitor.global_step == 30
    assert [record["outcome"] for record in actions_in(tmp_path / "a")] == ["failed: RuntimeError"]
    loop = Broken(tmp_path / "b", poisoned=(7,), actions=[Rewind()])
    assert loop.monitor.global_step == 7
    assert [record["outcome"] for record in actions_in(tmp_path / "b")] == ["failed: RuntimeError", "done"]


def test_a_rate_that_was_lowered_is_so_after_a_resume(tmp_path: Path):
    lower = LowerLearningRate(when="nonfinite", factor=0.5, hold_steps=4, ramp_steps=4)
    Loop(tmp_path, poisoned=(10,), steps=12, actions=[lower])
    Loop(tmp_path, steps=20, actions=[lower], start_step=12)
    rates = [sample.metrics["learning_rate"] for sample in read_run(tmp_path)]
    # The second loop begins with a schedule of its own.
    share = [rate / (1e-2 * 0.99**step) for step, rate in enumerate(rates[12:])]
    assert share == pytest.approx([0.5, 0.5, 0.5, 0.625, 0.75, 0.875, 1.0, 1.0])


def test_while_the_file_is_there_nothing_is_done(tmp_path: Path):
    (tmp_path / "pause_actions").touch()
    loop = Loop(tmp_path, poisoned=(7,), actions=[Rewind(), SkipStep()])
    assert {(record["do"], record["outcome"]) for record in actions_in(tmp_path)} == {
        ("skip_step", "paused"), ("rewind", "paused")
    }  # fmt: skip
    assert not all(parameter.isfinite().all() for parameter in loop.model.parameters())
