"""Do actions save a run? Small trainings on real text that go wrong on the way, with and without a policy.

Each fault is tied to a place in the data, as a bad shard is: who goes back and reads past it does not meet it again.

- overflow: the loss of one step leaves the range of float16, so that all of its gradients are NaN or infinite;
- shard: 40 steps' worth of random bytes;
- burst: for 20 steps the learning rate is 100 times as high.

The figure is the held-out loss at the end, over that of the same training without the fault: with the policy it should
be within 1 %, without it is not.

    python -m benchmarks.rescue [--framework hf|lightning] [--fault overflow|shard|burst] [--seeds N]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset

from pretrain_monitor.actions import Rewind, SkipStep
from pretrain_monitor.demo.model import GPT, VOCABULARY
from pretrain_monitor.demo.text import load_text

STEPS, FAULT_AT, SAVE_EVERY = 600, 450, 25
BATCH, CONTEXT = 16, 64
PEAK_RATE, BURST = 2e-3, 100.0
LASTS = {"overflow": 1, "shard": 40, "burst": 20, "none": 0}
POLICY = [SkipStep(), Rewind(when=("warning", "critical"), skip_steps=100)]
LIMIT = 1.01
QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


class Case(NamedTuple):
    framework: str
    fault: str
    seed: int
    has_policy: bool


class Stream(IterableDataset[dict[str, Tensor]]):
    """Rows of code in an order given by the seed; each says at which step's place in the data it stands."""

    def __init__(self, fault: str, seed: int) -> None:
        self._text = load_text()["code"].train_bytes()
        self._fault, self._seed = fault, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for place in range(1, 2 * STEPS):
            chance = np.random.default_rng((self._seed, place))
            if self._fault == "shard" and is_hit(self._fault, place):
                rows = chance.integers(0, VOCABULARY, (BATCH, CONTEXT), dtype=np.uint8)
            else:
                starts = chance.integers(0, len(self._text) - CONTEXT, BATCH)
                rows = np.stack([self._text[start : start + CONTEXT] for start in starts])
            for row in rows.astype(np.int64):
                yield {
                    "input_ids": torch.from_numpy(row),
                    "labels": torch.from_numpy(row),
                    "place": torch.tensor(place),
                }


def is_hit(fault: str, place: int) -> bool:
    return FAULT_AT <= place < FAULT_AT + LASTS[fault]


class Faulty(torch.nn.Module):
    """The model, and what goes wrong in its loss and with its learning rate."""

    def __init__(self, fault: str, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.gpt = GPT(layers=2, width=96, heads=4, context=CONTEXT)
        # Apart, for a Trainer's checkpoint holds no tensor twice.
        self.gpt.head.weight = torch.nn.Parameter(self.gpt.head.weight.detach().clone())
        self.fault = fault
        self.place = 0

    def forward(self, input_ids: Tensor, labels: Tensor, place: Tensor) -> dict[str, Tensor]:
        self.place = int(place[0])
        output: dict[str, Tensor] = self.gpt(input_ids, labels)
        if self.fault == "overflow" and is_hit(self.fault, self.place):
            logits = (output["logits"].half() * 30000.0).float()  # infinite beyond 65504
            output["loss"] = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return output

    def optimizers(self) -> tuple[AdamW, LambdaLR]:
        optimizer = AdamW(self.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.1)
        optimizer.register_step_pre_hook(self._burst)
        optimizer.register_step_post_hook(self._calm)
        return optimizer, LambdaLR(optimizer, rate_share)

    def _burst(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.fault == "burst" and is_hit(self.fault, self.place):
            optimizer.param_groups[0]["lr"] *= BURST

    def _calm(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.fault == "burst" and is_hit(self.fault, self.place):
            optimizer.param_groups[0]["lr"] /= BURST


def rate_share(completed: int) -> float:
    """Warm-up, then a cosine to a tenth."""
    share = min(1.0, completed / STEPS)
    return min((completed + 1) / 30, 0.1 + 0.45 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def held_out_loss(model: Faulty) -> float:
    """Nats per byte over windows of files that nobody trains on."""
    text = load_text()["code"].held_out_bytes()
    starts = np.linspace(0, len(text) - CONTEXT - 1, 2000).astype(int)
    ids = torch.from_numpy(np.stack([text[start : start + CONTEXT] for start in starts]).astype(np.int64))
    model.eval()
    return sum(float(model.gpt(part, part)["loss"]) * len(part) for part in ids.split(200)) / len(ids)


def run(case: Case, folder: Path) -> tuple[float, list[str]]:
    """Held-out loss at the end, and what was done on the way."""
    model = Faulty(case.fault, case.seed)
    actions = POLICY if case.has_policy else []
    train = {"hf": train_hf, "lightning": train_lightning}[case.framework]
    train(model, Stream(case.fault, case.seed), actions, folder)
    lines = (folder / "run" / "run.jsonl").read_text(encoding="utf-8").splitlines()
    done = [record for line in lines if (record := json.loads(line))["type"] == "action"]
    return held_out_loss(model), [f"{one['do']} {one['outcome']}" for one in done]


def train_hf(model: Faulty, stream: Stream, actions: list[Any], folder: Path) -> None:
    from transformers import Trainer, TrainingArguments

    from pretrain_monitor.callbacks.huggingface import MonitorCallback

    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, save_steps=SAVE_EVERY,
        save_strategy="steps", report_to="none", use_cpu=True, disable_tqdm=True, logging_steps=STEPS,
        remove_unused_columns=False,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=stream, optimizers=model.optimizers())
    MonitorCallback(folder / "run", QUIET, actions=actions).attach(trainer)
    trainer.train()


def train_lightning(model: Faulty, stream: Stream, actions: list[Any], folder: Path) -> None:
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint

    from pretrain_monitor.callbacks.lightning import MonitorCallback

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss: Tensor = self.model(**batch)["loss"]
            return loss

        def configure_optimizers(self) -> Any:
            optimizer, schedule = self.model.optimizers()
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    saver = ModelCheckpoint(str(folder / "saved"), every_n_train_steps=SAVE_EVERY, save_top_k=-1)
    trainer = L.Trainer(
        max_steps=STEPS, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=str(folder), gradient_clip_val=1.0,
        callbacks=[MonitorCallback(folder / "run", QUIET, actions=actions), saver],
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(stream, batch_size=BATCH))


def measure(case: Case) -> tuple[float, list[str]]:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(case, Path(folder))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--framework", choices=["hf", "lightning"])
    parser.add_argument("--fault", choices=["overflow", "shard", "burst"])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.disable(logging.ERROR)
    is_as_wished = True
    print(f"{'framework':10} {'fault':9} {'seed':>4}  {'held-out':>8}  {'without':>8}  {'with':>7}  what was done")
    for framework in [given.framework] if given.framework else ["hf", "lightning"]:
        for seed in range(given.seeds):
            clean, _ = measure(Case(framework, "none", seed, False))
            for fault in [given.fault] if given.fault else ["overflow", "shard", "burst"]:
                without, _ = measure(Case(framework, fault, seed, False))
                rescued, done = measure(Case(framework, fault, seed, True))
                is_as_wished &= rescued / clean <= LIMIT and not without / clean <= LIMIT
                print(
                    f"{framework:10} {fault:9} {seed:4}  {clean:8.4f}  {without / clean:8.3f}  {rescued / clean:7.4f}  "
                    f"{', '.join(done)}",
                    flush=True,
                )
    print("with the policy within 1 % and without it not, each time" if is_as_wished else "not each time as it should")
    return 0 if is_as_wished else 1


if __name__ == "__main__":
    raise SystemExit(main())
