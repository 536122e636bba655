"""Short trainings of a tiny model in a loop of one's own, with probes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from pretrain_monitor.callbacks.loop import LoopMonitor
from tests.tiny_models import TinyGPT

torch.set_num_threads(1)

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
# What these runs do is small; a probe of them takes many times longer than a step.
# A round may take much longer than a step of these small models, above all on a busy machine.
UNLIMITED = {"budget_percent": 1e6}
ALL_TIME = {**UNLIMITED, "early": False, "at_start": False, "at_end": False, "after_incidents": False}


def train(
    steps: int,
    run_dir: Path | None,
    probes: list[Any],
    *,
    schedule: dict[str, Any] | None = None,
    start_step: int = 0,
    config: dict[str, Any] | None = None,
    change_loss: Callable[[int, float], float] = lambda step, loss: loss,
    after: Callable[[LoopMonitor, int], None] = lambda monitor, step: None,
) -> str:
    """Train with dropout and shuffled data; a digest of all weights at the end."""
    torch.manual_seed(0)
    random.seed(0)
    model = TinyGPT()
    data = torch.randint(0, 256, (64, 16))
    loader = DataLoader(TensorDataset(data), batch_size=8, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    settings = {**QUIET, "probes": {**ALL_TIME, "every_steps": 10, **(schedule or {})}, **(config or {})}
    done = start_step
    with LoopMonitor(run_dir, settings, probes=probes, model=model, start_step=start_step) as monitor:
        while done < steps:
            for (batch,) in loader:
                if done == steps:
                    break
                logits = model(batch[:, :-1])
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                monitor.step(loss=change_loss(done, float(loss.detach())), optimizer=optimizer, tokens=batch.numel())
                after(monitor, done)
    return digest(model)


def digest(model: torch.nn.Module) -> str:
    parts = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        parts.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return parts.hexdigest()


def rounds(run_dir: Path) -> list[tuple[int, str]]:
    """Step and reason of each round in the run log."""
    return [
        (record["step"], record["meta"]["probes"]["reason"])
        for record in records(run_dir)
        if record["type"] == "sample" and "probes" in record.get("meta", {})
    ]


def records(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "run.jsonl").read_text().splitlines()]
