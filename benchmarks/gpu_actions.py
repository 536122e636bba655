"""python -m benchmarks.gpu_actions: actions on a GPU, held against runs without a fault. Exit code 1 if one fails."""

from __future__ import annotations

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable with it, and it is read once

import argparse
import json
import logging
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from pretrain_monitor.actions import Rewind, SkipStep
from pretrain_monitor.callbacks.loop import LoopMonitor

from .gpu import QUIET, VOCABULARY, digest, llama

POISONED, STEPS = 20, 40
EVERY = 5  # steps between two checkpoints


def loop(device: torch.device, *, is_poisoned: bool, without: int | None = None) -> tuple[str, list[dict[str, Any]]]:
    """A training whose updates may be left out on the device; its weights, and what was recorded.

    Args:
        without: step whose update the program itself leaves out.
    """
    torch.manual_seed(0)
    model = llama().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(0, VOCABULARY, (STEPS + 1, 8, 128), device=device)
    nan = torch.tensor(math.nan, device=device)
    with tempfile.TemporaryDirectory() as folder:
        actions = [SkipStep(on_device=True, extreme_sd=12.0)]
        with LoopMonitor(folder, QUIET, actions=actions) as monitor:
            for step in range(1, STEPS + 1):
                logits = model(input_ids=ids[step], use_cache=False).logits
                loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[step][:, 1:].flatten())
                if is_poisoned and step == POISONED:
                    loss = loss * nan
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                if step >= 5 and device.type == "cuda":
                    torch.cuda.set_sync_debug_mode("error")
                try:
                    monitor.guard(optimizer, norm)
                    if step != without:
                        optimizer.step()
                    monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=1024)
                finally:
                    if device.type == "cuda":
                        torch.cuda.set_sync_debug_mode("default")
                optimizer.zero_grad()
        return digest(model), actions_in(Path(folder))


def leaves_out_without_waiting(device: torch.device) -> str:
    poisoned, records = loop(device, is_poisoned=True)
    reference, none = loop(device, is_poisoned=False, without=POISONED)
    assert poisoned == reference, "not the weights of the run without that update"
    assert [(r["do"], r["outcome"], r["details"]["step"]) for r in records] == [("skip_step", "done", POISONED)], (
        records
    )
    assert not none, none
    return "poisoned batch left out by a fused AdamW, no synchronization: the same weights to the bit"


def actions_in(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "run.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["type"] == "action"]


def summary(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(record["do"], record["outcome"], record["details"]["step"]) for record in records]


def rows(poisoned: int | None, gone: range = range(0)) -> list[dict[str, torch.Tensor]]:
    """Four rows a step; those of one step are poison, those of some steps are not there."""
    ids = torch.randint(0, VOCABULARY - 1, (60, 4, 64), generator=torch.Generator().manual_seed(0))
    if poisoned is not None:
        ids[poisoned - 1] = VOCABULARY - 1
    kept = [ids[step - 1] for step in range(1, 61) if step not in gone]
    return [{"input_ids": row, "labels": row} for step in kept for row in step]


def train(device: torch.device, folder: Path, data: list[Any], actions: list[Any], without: int | None = None) -> str:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from pretrain_monitor.callbacks.huggingface import MonitorCallback

    class InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(model, inputs, *args, **kwargs)
            is_poison = (inputs["input_ids"] == VOCABULARY - 1).all()
            return loss * torch.where(is_poison, math.nan, 1.0)

    class Without(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            if state.global_step + 1 == without:
                for parameter in model.parameters():
                    parameter.grad = None

    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=4, bf16=device.type == "cuda",
        use_cpu=device.type == "cpu", report_to="none", save_strategy="steps", save_steps=EVERY, logging_steps=5,
        disable_tqdm=True, optim="adamw_torch_fused", logging_nan_inf_filter=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = llama()
    trainer = InOrder(model, arguments, train_dataset=data, callbacks=[Without()])
    MonitorCallback(folder / "run", QUIET, actions=actions).attach(trainer)
    trainer.train()
    assert trainer.state.global_step == STEPS
    return digest(model)


def trainer_leaves_out(device: torch.device, *, on_device: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        skip = SkipStep(on_device=on_device)
        poisoned = train(device, Path(folder) / "a", rows(POISONED), [skip])
        reference = train(device, Path(folder) / "b", rows(None), [], without=POISONED)
        records = actions_in(Path(folder) / "a" / "run")
    assert [(r["do"], r["outcome"], r["details"]["step"]) for r in records] == [("skip_step", "done", POISONED)], (
        records
    )
    assert poisoned == reference, "not the weights of the run without that update"
    return f"Trainer, bf16, decided {'there' if on_device else 'by the host'}: the same weights to the bit"


def trainer_goes_back(device: torch.device) -> str:
    with tempfile.TemporaryDirectory() as folder:
        rewound = train(device, Path(folder) / "a", rows(POISONED), [Rewind(skip_steps=10)])
        (record,) = actions_in(Path(folder) / "a" / "run")
        to_step = record["details"]["to_step"]
        gone = range(to_step + 1, to_step + 1 + record["details"]["skipped_steps"])
        reference = train(device, Path(folder) / "b", rows(POISONED, gone), [])
    assert record["outcome"] == "done", record
    assert rewound == reference, "not the weights of the run without that data"
    seen = record["details"]["from_step"] - POISONED
    return f"Trainer, bf16: back {seen} steps after the poisoned one, the same weights to the bit as without that data"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = torch.device(parser.parse_args().device)
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    torch.use_deterministic_algorithms(True, warn_only=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {name}", flush=True)
    checks: dict[str, Callable[[], str]] = {
        "loop": lambda: leaves_out_without_waiting(device),
        "trainer, device": lambda: trainer_leaves_out(device, on_device=True),
        "trainer, host": lambda: trainer_leaves_out(device, on_device=False),
        "rewind": lambda: trainer_goes_back(device),
    }
    failed = 0
    for what, check in checks.items():
        began = time.perf_counter()
        try:
            said, verdict = check(), "ok"
        except Exception as error:
            said, verdict = f"{type(error).__name__}: {str(error)[-1500:]}", "FAILED"
            failed += 1
        print(f"{verdict:6} {what:15} {said} ({time.perf_counter() - began:.0f} s)", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
