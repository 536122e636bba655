"""A run that ends badly: ``hf_killed.py FOLDER HOW`` where HOW is kill or crash, with -unattached or without."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import tiny_hf
import torch
from transformers import Trainer, TrainerCallback

STEPS, SAVED_EVERY, ENDS_AFTER = 36, 10, 27
POISONED_STEPS = (18, 24)


def rows() -> list[dict[str, torch.Tensor]]:
    """One pattern over and over, which is learnt quickly, and noise in the batches of two steps."""
    pattern = {"input_ids": torch.arange(tiny_hf.LENGTH), "labels": torch.arange(tiny_hf.LENGTH)}
    result = [pattern] * (2 * STEPS)
    for step in POISONED_STEPS:
        result[2 * step - 2 : 2 * step] = tiny_hf.rows(2, seed=step)
    return result


def trainer(folder: Path, callbacks: list[TrainerCallback]) -> Trainer:
    return tiny_hf.trainer(
        folder,
        tiny_hf.gpt2(),
        rows(),
        options={"callbacks": callbacks},
        max_steps=STEPS,
        learning_rate=1e-2,
        train_sampling_strategy="sequential",
        save_strategy="steps",
        save_steps=SAVED_EVERY,
    )


class End(TrainerCallback):
    """Comes after the monitor, so that the last step is in its hands."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == ENDS_AFTER:
            if self.how.startswith("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the disk with the data is gone")


if __name__ == "__main__":
    folder, how = Path(sys.argv[1]), sys.argv[2]
    monitor = tiny_hf.MonitorCallback(folder / "run", tiny_hf.QUIET)
    ending = trainer(folder, [monitor, End(how)])
    if "unattached" not in how:
        monitor.attach(ending)
    ending.train()
