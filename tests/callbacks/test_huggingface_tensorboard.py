from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_hf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain_monitor.callbacks.huggingface import MonitorCallback

SHARING = {"console": {"enabled": False}}
APART = {"console": {"enabled": False}, "tensorboard": {"share_writer": False}}


def test_attached_it_draws_into_the_event_file_of_the_trainer(tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, report_to=["tensorboard"], logging_steps=4)
    tiny_hf.watched(trainer, tmp_path, config=SHARING)

    trainer.train()
    trainer.train()  # the trainer has closed its writer and makes a new one

    (directory,) = event_directories(tmp_path)
    assert directory.is_relative_to(tmp_path / "trainer")
    tags = EventAccumulator(str(directory)).Reload().Tags()["scalars"]
    assert "train/grad_norm" in tags  # the trainer's own
    losses = [tag for tag in tags if tag.endswith("train/loss") and tag != "train/loss"]
    assert [[event.step for event in drawn(directory, tag)] for tag in losses] == [[*range(1, 9), *range(1, 9)]]


@pytest.mark.parametrize(("attach", "config"), [(True, APART), (False, SHARING)])
def test_otherwise_it_draws_into_a_file_of_its_own(attach: bool, config: Any, tmp_path: Path) -> None:
    monitor = MonitorCallback(tmp_path / "run", config)
    trainer = tiny_hf.trainer(tmp_path, options={"callbacks": [monitor]}, report_to=["tensorboard"])
    if attach:
        monitor.attach(trainer)

    trainer.train()

    own = tmp_path / "run" / "tensorboard"
    assert own in event_directories(tmp_path) and len(event_directories(tmp_path)) == 2
    assert [event.step for event in drawn(own, "train/loss")] == list(range(1, 9))


def event_directories(folder: Path) -> set[Path]:
    return {file.parent for file in folder.rglob("*tfevents*")}


def drawn(directory: Path, tag: str) -> Any:
    return EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload().Scalars(tag)
