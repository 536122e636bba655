"""What each rank of the tests of several ranks trains: ``hf_ranks.py FOLDER SCENARIO...``, started by torchrun."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import tiny_hf
import torch.distributed as dist
from test_huggingface import PlainModule, points
from transformers import TrainerCallback

from pretrain_monitor.callbacks import hf_taps

RANK = int(os.environ["RANK"])
STEPS = 7
FAILS_AFTER = 5

SCENARIOS: dict[str, dict[str, Any]] = {
    "attached": {},
    "own-tokens": {"average_tokens_across_devices": False},
    "counting": {"include_num_input_tokens_seen": "non_padding"},
    "saving": {"save_strategy": "steps", "save_steps": 2},
    # Otherwise DDP copies what the model returns, and hides that the trainer multiplies the loss in place.
    "unattached": {"ddp_find_unused_parameters": False},
    "unattached-own-tokens": {"average_tokens_across_devices": False},
    "unattached-means": {"model": PlainModule, "data": points(40)},
    "dropout": {"model": tiny_hf.gpt2},
    "dropout-bare": {"model": tiny_hf.gpt2},
    "blind-rank": {},
    "failing-rank": {},
}


class FailOnRankOne(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if RANK == 1 and state.global_step == FAILS_AFTER:
            raise RuntimeError("this rank has had enough")


def train(folder: Path, scenario: str) -> None:
    settings = dict(SCENARIOS[scenario])
    model = settings.pop("model", tiny_hf.llama)()
    # Five tokens less in every third row: the ranks' batches differ in their number of tokens.
    data = settings.pop("data", tiny_hf.rows(40, padding=5))
    # The last of two windows of an epoch is one micro-batch short.
    trainer = tiny_hf.trainer(
        folder, model, data[:28], ddp_backend="gloo", gradient_accumulation_steps=2, max_steps=STEPS, **settings
    )
    monitor = tiny_hf.MonitorCallback(folder / "run", tiny_hf.QUIET)
    if scenario.startswith("unattached"):
        trainer.add_callback(monitor)
    elif scenario != "dropout-bare":
        monitor.attach(trainer)
    if scenario == "failing-rank":
        trainer.add_callback(FailOnRankOne())
    if scenario == "blind-rank" and RANK == 1:
        hf_taps.sum_losses = lambda micro: 1 / 0
    trainer.train()
    seen = {
        "log": trainer.state.log_history,
        "hash": tiny_hf.weights_hash(trainer.model),
        "wrote": monitor.monitor.detector.last_step,
    }
    (folder / f"rank{RANK}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    for scenario in sys.argv[2:]:
        train(Path(sys.argv[1]) / scenario, scenario)
    # The process group of a finished trainer may abort the process on its way out.
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
