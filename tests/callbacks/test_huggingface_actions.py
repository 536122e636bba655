"""Actions in real trainers: updates left out, checkpoints kept, training stopped, gone back, lowered."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_hf import LENGTH, QUIET, VOCABULARY, column, llama, logged, rows, samples, trainer, watched, weights_hash
from transformers import Trainer, TrainerCallback

from pretrain_monitor import ListSink
from pretrain_monitor.actions import Checkpoint, LowerLearningRate, Rewind, SkipStep, Stop

POISON = VOCABULARY - 1


class InOrder(Trainer):
    """Reads its data in order; a row of nothing but the last token makes the loss NaN."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return loss * math.nan if bool((inputs["input_ids"] == POISON).all(dim=-1).any()) else loss


def data(steps: int, *, poisoned: tuple[int, ...] = (), batch: int = 2) -> list[dict[str, torch.Tensor]]:
    """Rows for so many steps; ``poisoned`` steps, counted from 1, have one that is poison."""
    found = rows(batch * steps)
    for step in poisoned:
        ids = torch.full((LENGTH,), POISON)
        found[batch * (step - 1)] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    return found


def actions_in(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "run.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["type"] == "action"]


def optimizer_hash(trainer: Trainer) -> str:
    state = trainer.optimizer.state_dict()["state"]
    return "".join(
        f"{key}{name}{value.double().sum().item() if isinstance(value, torch.Tensor) else value!r}"
        for key, values in state.items()
        for name, value in sorted(values.items())
    )


class WithoutUpdateOf(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step + 1 == self.step:
            for parameter in model.parameters():
                parameter.grad = None


@pytest.mark.parametrize(
    "settings",
    [
        {"optim": "adamw_torch_fused"},
        {"optim": "adamw_torch"},
        {"optim": "sgd"},
        {"optim": "adafactor"},
        {"gradient_accumulation_steps": 3},
        {"max_grad_norm": 0.0},
    ],
    ids=lambda settings: next(f"{key}={value}" for key, value in settings.items()),
)
def test_a_poisoned_batch_is_as_if_its_update_had_never_happened(settings: dict[str, Any], tmp_path: Path):
    size = 2 * settings.get("gradient_accumulation_steps", 1)
    guarded = trainer(tmp_path / "a", data=data(12, poisoned=(5,), batch=size), kind=InOrder, max_steps=12, **settings)
    watched(guarded, tmp_path, actions=[SkipStep()])
    guarded.train()
    reference = trainer(tmp_path / "b", data=data(12, batch=size), kind=InOrder, max_steps=12, **settings)
    reference.add_callback(WithoutUpdateOf(5))
    reference.train()
    assert weights_hash(guarded.model) == weights_hash(reference.model)
    assert optimizer_hash(guarded) == optimizer_hash(reference)
    (record,) = actions_in(tmp_path)
    assert (record["do"], record["outcome"], record["details"]["step"]) == ("skip_step", "done", 5)
    assert record["reason"] == "the gradient norm is nan"
    left_out = [sample.step for sample in samples(tmp_path) if "update_left_out" in (sample.meta or {})]
    assert left_out == [5]


def test_the_device_leaves_out_an_update_as_the_host_would(tmp_path: Path):
    settings = {"kind": InOrder, "max_steps": 12, "optim": "adamw_torch_fused"}
    guarded = trainer(tmp_path / "a", data=data(12, poisoned=(5,)), **settings)
    sink = ListSink()
    watched(guarded, tmp_path, actions=[SkipStep(on_device=True)], sinks=[sink])
    guarded.train()
    reference = trainer(tmp_path / "b", data=data(12), **settings)
    reference.add_callback(WithoutUpdateOf(5))
    reference.train()
    assert weights_hash(guarded.model) == weights_hash(reference.model)
    assert optimizer_hash(guarded) == optimizer_hash(reference)
    (record,) = actions_in(tmp_path)
    assert (record["do"], record["outcome"], record["details"]["step"]) == ("skip_step", "done", 5)
    found = samples(tmp_path)
    assert [sample.step for sample in found if sample.meta] == [5]
    assert all("update_left_out" not in sample.metrics for sample in found), "it is no signal to be judged"
    assert all("update_left_out" not in sample.metrics for sample in sink.samples)


def test_a_dry_run_on_the_device_says_what_it_would_leave_out_and_that_the_weights_are_lost(tmp_path: Path):
    settings = {"optim": "adamw_torch_fused", "save_strategy": "steps", "save_steps": 2}
    run = trainer(tmp_path, data=data(10, poisoned=(5,)), kind=InOrder, max_steps=8, **settings)
    watched(run, tmp_path, actions=[SkipStep(on_device=True), Rewind()], config={**QUIET, "dry_run": True})
    run.train()
    said = {(record["do"], record["outcome"]) for record in actions_in(tmp_path)}
    assert said == {("skip_step", "dry run"), ("rewind", "dry run")}
    assert all("update_left_out" not in (sample.meta or {}) for sample in samples(tmp_path))


def test_the_device_stops_leaving_out_where_the_budget_is_used_up(tmp_path: Path):
    run = trainer(
        tmp_path, data=data(30, poisoned=(3, 5, 7, 15)), kind=InOrder, max_steps=30, optim="adamw_torch_fused"
    )
    watched(run, tmp_path, actions=[SkipStep(on_device=True, at_most=3, per_steps=100)])
    run.train()
    outcomes = [record["outcome"] for record in actions_in(tmp_path)]
    assert outcomes == ["done", "done", "done", "over budget: 3 in 100 steps"]
    assert not all(parameter.isfinite().all() for parameter in run.model.parameters())


def test_without_a_fused_optimizer_the_host_decides_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = trainer(tmp_path, data=data(12, poisoned=(5,)), kind=InOrder, max_steps=12, optim="adamw_torch")
    watched(run, tmp_path, actions=[SkipStep(on_device=True)])
    run.train()
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())
    assert "skip_step: on_device needs a fused optimizer and no gradient scaler; the host decides" in caplog.text


def test_without_the_action_one_poisoned_batch_destroys_the_model(tmp_path: Path):
    bare = trainer(tmp_path, data=data(8, poisoned=(5,)), kind=InOrder)
    watched(bare, tmp_path)
    bare.train()
    assert not all(parameter.isfinite().all() for parameter in bare.model.parameters())
    assert not actions_in(tmp_path)


def test_an_update_is_not_left_out_more_often_than_allowed_and_then_the_training_stops(tmp_path: Path):
    run = trainer(tmp_path, data=data(30, poisoned=(3, 5, 7, 9)), kind=InOrder, max_steps=30)
    watched(run, tmp_path, actions=[SkipStep(at_most=3, per_steps=100, then="stop")])
    run.train()
    outcomes = [(record["do"], record["outcome"]) for record in actions_in(tmp_path)]
    assert outcomes == [
        *[("skip_step", "done")] * 3,
        ("skip_step", "over budget: 3 in 100 steps"),
        ("stop", "done"),
    ]
    assert run.state.global_step == 9


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(tmp_path: Path):
    hashes = []
    for folder, actions in (("a", [SkipStep(), Rewind(), Checkpoint()]), ("b", [])):
        run = trainer(tmp_path / folder, data=data(8, poisoned=(5,)), kind=InOrder, save_strategy="steps", save_steps=2)
        watched(run, tmp_path / folder, actions=actions, config={**QUIET, "dry_run": True})
        run.train()
        hashes.append(run.state.global_step)
        assert not (tmp_path / folder / "trainer" / "kept").exists()
    assert hashes == [8, 8]
    said = {(record["do"], record["outcome"]) for record in actions_in(tmp_path / "a")}
    assert said == {("skip_step", "dry run"), ("rewind", "dry run"), ("checkpoint", "dry run")}


def test_after_going_back_the_run_is_the_one_that_never_saw_the_data_that_led_into_it(tmp_path: Path):
    settings = {"max_steps": 30, "save_strategy": "steps", "save_steps": 5, "logging_steps": 4, "kind": InOrder}
    rewound = trainer(tmp_path / "a", data=data(40, poisoned=(18,)), **settings)
    sink = ListSink()
    watched(rewound, tmp_path, actions=[Rewind()], sinks=[sink])
    rewound.train()
    assert rewound.state.global_step == 30
    (record,) = actions_in(tmp_path)
    facts = record["details"]
    assert (record["do"], record["outcome"], record["step"]) == ("rewind", "done", 15)
    assert (facts["from_step"], facts["to_step"], facts["skipped_steps"]) == (18, 15, 3)

    # Steps 16 to 18 are gone; step 16 of the run that went back read what would have been step 19.
    whole = data(40)
    reference = trainer(tmp_path / "b", data=whole[:30] + whole[36:], **settings)
    reference.train()
    assert weights_hash(rewound.model) == weights_hash(reference.model)
    assert optimizer_hash(rewound) == optimizer_hash(reference)

    assert [sample.step for sample in samples(tmp_path)] == list(range(1, 31))
    assert all(math.isfinite(loss) for loss in column(tmp_path, "loss") if loss is not None)
    steps = [entry["step"] for entry in rewound.state.log_history if "loss" in entry]
    assert steps == sorted(set(steps)), "the trainer's own log has no step twice"
    assert all(math.isfinite(loss) for loss in logged(rewound, "loss"))
    assert [action.do for action in sink.actions] == ["rewind"]
    assert (tmp_path / "a" / "trainer" / "checkpoint-30").exists()


def test_without_a_checkpoint_from_before_the_onset_the_training_stops(tmp_path: Path):
    run = trainer(
        tmp_path, data=data(30, poisoned=(18,)), kind=InOrder, max_steps=30, save_strategy="steps", save_steps=20
    )
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    refused, stop = actions_in(tmp_path)
    assert refused["outcome"] == "refused: there is no checkpoint from before step 18"
    assert (stop["do"], stop["outcome"]) == ("stop", "done")
    assert run.state.global_step == 18


def test_checkpoints_from_after_the_onset_are_put_aside_so_that_nobody_resumes_from_them(tmp_path: Path):
    for later in ("checkpoint-99", "kept/checkpoint-50"):
        (tmp_path / "trainer" / later).mkdir(parents=True)
        for name in ("trainer_state.json", "optimizer.pt"):
            (tmp_path / "trainer" / later / name).write_text("of a time that is given up", encoding="utf-8")
    run = trainer(
        tmp_path, data=data(30, poisoned=(18,)), kind=InOrder, max_steps=20, save_strategy="steps", save_steps=9
    )
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    assert {path.name for path in (tmp_path / "trainer").glob("checkpoint-*")} == {
        "checkpoint-9", "checkpoint-18", "checkpoint-20"
    }  # fmt: skip
    assert (tmp_path / "trainer" / "undone" / "checkpoint-99" / "optimizer.pt").exists()
    assert (tmp_path / "trainer" / "kept" / "undone" / "checkpoint-50" / "optimizer.pt").exists()


def test_more_data_is_left_out_where_that_is_asked_for(tmp_path: Path):
    settings = {"max_steps": 30, "save_strategy": "steps", "save_steps": 5, "kind": InOrder}
    settings |= {"gradient_accumulation_steps": 2}
    rewound = trainer(tmp_path / "a", data=data(45, poisoned=(18,), batch=4), **settings)
    watched(rewound, tmp_path, actions=[Rewind(skip_steps=10)])
    rewound.train()
    assert actions_in(tmp_path)[0]["details"]["skipped_steps"] == 10
    whole = data(45, batch=4)
    reference = trainer(tmp_path / "b", data=whole[:60] + whole[100:], **settings)
    reference.train()
    assert weights_hash(rewound.model) == weights_hash(reference.model)


def test_the_last_good_checkpoint_is_kept_from_rotation_and_one_is_saved(tmp_path: Path):
    run = trainer(
        tmp_path,
        data=data(40, poisoned=(13,)),
        kind=InOrder,
        max_steps=30,
        save_strategy="steps",
        save_steps=5,
        save_total_limit=1,
    )
    watched(run, tmp_path, actions=[Checkpoint(), SkipStep()])
    run.train()
    folder = tmp_path / "trainer"
    assert {path.name for path in folder.glob("checkpoint-*")} == {"checkpoint-30"}
    kept = folder / "kept" / "checkpoint-10"
    assert (kept / "optimizer.pt").exists()
    assert (kept / "trainer_state.json").exists()
    saved = next(record for record in actions_in(tmp_path) if record["do"] == "checkpoint")
    assert saved["details"]["saved"] == "a checkpoint of step 13 and the one of step 10"


def test_a_training_is_stopped_with_a_checkpoint_and_the_exit_status_that_was_chosen(tmp_path: Path):
    run = trainer(tmp_path, data=data(20, poisoned=(7,)), kind=InOrder, max_steps=20)
    callback = watched(run, tmp_path, actions=[Stop(exit_status=75)])
    with pytest.raises(SystemExit) as ended:
        run.train()
    assert ended.value.code == 75
    assert run.state.global_step == 7
    assert (tmp_path / "trainer" / "checkpoint-7" / "model.safetensors").exists()
    assert not callback.monitor.is_running
    assert json.loads((tmp_path / "run" / "run.jsonl").read_text().splitlines()[-1])["reason"] == "finished"


def test_the_learning_rate_is_lowered_and_comes_back_along_a_line(tmp_path: Path):
    rates = {}
    for folder, actions in (
        ("a", [LowerLearningRate(when="nonfinite", factor=0.2, hold_steps=2, ramp_steps=8)]),
        ("b", []),
    ):
        run = trainer(
            tmp_path / folder,
            data=data(30, poisoned=(10,)),
            kind=InOrder,
            max_steps=30,
            learning_rate=1e-2,
            lr_scheduler_type="cosine",
            warmup_steps=0,
        )
        watched(run, tmp_path / folder, actions=actions)
        run.train()
        rates[folder] = column(tmp_path / folder, "learning_rate")
        scheduled = logged(run, "learning_rate")
        rates[f"{folder} scheduled"] = scheduled
    share = [low / usual for low, usual in zip(rates["a"], rates["b"], strict=True)]
    expected = [1.0] * 10 + [0.2] * 3 + [0.2 + 0.1 * step for step in range(1, 8)] + [1.0] * 10
    assert share == pytest.approx(expected)
    assert rates["a scheduled"] == pytest.approx(rates["b scheduled"]), "the schedule itself is left alone"


@pytest.mark.parametrize("ramp_steps", [0, 10])
def test_a_rate_that_was_lowered_is_so_after_a_resume(ramp_steps: int, tmp_path: Path):
    settings = {"kind": InOrder, "save_strategy": "steps", "save_steps": 5, "lr_scheduler_type": "constant"}
    settings |= {"warmup_steps": 0, "learning_rate": 1e-2}
    actions = [Rewind(lr_factor=0.1, ramp_steps=ramp_steps)]
    first = trainer(tmp_path, data=data(60, poisoned=(8,)), max_steps=10, **settings)
    watched(first, tmp_path, actions=actions)
    first.train()
    second = trainer(tmp_path, data=data(60, poisoned=(8,)), max_steps=20, **settings)
    watched(second, tmp_path, actions=actions)
    second.train(resume_from_checkpoint=True)
    rates = column(tmp_path, "learning_rate")
    coming_back = [0.1 + 0.09 * step for step in range(10)] if ramp_steps else [0.1] * 10
    assert [rate / 1e-2 for rate in rates] == pytest.approx(
        [1.0] * 5 + [*coming_back, *([1.0] * 5 if ramp_steps else [0.1] * 5)]
    )


def test_an_unattached_callback_says_that_it_cannot_act(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    from pretrain_monitor.callbacks.huggingface import MonitorCallback

    run = trainer(tmp_path, data=data(12, poisoned=(5,)), kind=InOrder, max_steps=12)
    run.add_callback(MonitorCallback(tmp_path / "run", QUIET, actions=[Stop(), SkipStep()]))
    run.train()
    assert run.state.global_step == 12
    assert "actions are only told of, not carried out: the callback is not attached" in caplog.text


def test_what_can_never_work_is_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = trainer(tmp_path, data=data(8), kind=InOrder, model=llama())
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    assert "rewind: save_strategy is 'no', so there will be no checkpoint to go back to" in caplog.text


class Seeing(InOrder):
    """Keeps the first row of each batch that it trained on."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        vars(self).setdefault("seen", []).append(inputs["input_ids"][0].tolist())
        return super().compute_loss(model, inputs, *args, **kwargs)


def test_a_resumed_run_sees_no_data_again_however_often_it_went_back(tmp_path: Path):
    whole = data(70, poisoned=(18, 26))
    settings = {"data": whole, "kind": Seeing, "save_strategy": "steps", "save_steps": 5}
    first = trainer(tmp_path, max_steps=30, **settings)
    watched(first, tmp_path, actions=[Rewind(back_steps=5)])
    first.train()
    gone_back = [(record["step"], record["details"]["from_step"]) for record in actions_in(tmp_path)]
    assert gone_back == [(10, 18), (5, 18)], "the second time to before the first"
    resumed = trainer(tmp_path, max_steps=32, **settings)
    watched(resumed, tmp_path, actions=[Rewind(back_steps=5)])
    resumed.train(resume_from_checkpoint=True)
    assert [*first.seen, *resumed.seen] == [row["input_ids"].tolist() for row in whole[: 2 * 53 : 2]]


class Healed(TrainerCallback):
    """Replaces a row by another once it was trained on."""

    def __init__(self, rows: list[Any], *, step: int, row: int) -> None:
        self.rows, self.step, self.row = rows, step, row

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.rows[self.row] = self.rows[0]


def test_a_pass_over_the_data_that_is_left_out_as_a_whole_does_not_end_the_training(tmp_path: Path):
    rows = data(10, poisoned=(8,))
    settings = {"kind": InOrder, "max_steps": -1, "num_train_epochs": 6, "save_strategy": "steps", "save_steps": 5}
    run = trainer(tmp_path, data=rows, **settings)
    run.add_callback(Healed(rows, step=8, row=14))
    watched(run, tmp_path, actions=[Rewind(skip_steps=30)])
    run.train()
    assert [record["do"] for record in actions_in(tmp_path)] == ["rewind"]
    assert run.state.global_step == 6 * 10 - 30


def test_data_still_to_be_left_out_is_forgotten_when_another_training_begins(tmp_path: Path):
    settings = {"kind": InOrder, "max_steps": -1, "num_train_epochs": 1, "save_strategy": "steps", "save_steps": 5}
    run = trainer(tmp_path, data=data(20, poisoned=(18,)), **settings)
    watched(run, tmp_path, actions=[Rewind(skip_steps=300)])
    run.train()
    assert run.state.global_step == 15
    run.train_dataset = data(20)
    run.train()
    assert run.state.global_step == 20


def test_a_checkpoint_that_cannot_be_put_aside_leaves_one_history_all_the_same(tmp_path: Path):
    later = tmp_path / "trainer" / "checkpoint-99"
    later.mkdir(parents=True)
    for name in ("trainer_state.json", "optimizer.pt"):
        (later / name).write_text("of a time that is given up", encoding="utf-8")
    (later.parent / "undone").write_text("no directory", encoding="utf-8")
    settings = {"kind": InOrder, "max_steps": 30, "save_strategy": "steps", "save_steps": 5}
    run = trainer(tmp_path, data=data(40, poisoned=(18,)), **settings)
    watched(run, tmp_path, actions=[Rewind()])
    run.train()
    (record,) = actions_in(tmp_path)
    assert (record["outcome"], record["step"]) == ("done", 15)
    assert all(math.isfinite(loss) for loss in column(tmp_path, "loss") if loss is not None)
