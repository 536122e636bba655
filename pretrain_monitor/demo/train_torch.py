"""The demo in plain PyTorch: one line in the loop reports each step."""

from __future__ import annotations

from pathlib import Path

from rich.progress import track
from torch.nn.utils import clip_grad_norm_

from ..callbacks.loop import LoopMonitor
from .batches import PlannedRows
from .held_out import SCHEDULE, held_out_probe
from .model import GPT
from .plan import Plan
from .recipe import CLIP_NORM, loader_of, optimizer_of
from .text import Domain


def train(model: GPT, rows: PlannedRows, plan: Plan, text: dict[str, Domain], run_dir: Path) -> None:
    optimizer, schedule = optimizer_of(model, plan)
    probes = [held_out_probe(text)]
    with LoopMonitor(run_dir, {"probes": SCHEDULE}, probes=probes, model=model) as monitor:
        for batch in track(loader_of(rows), "training", plan.steps):
            loss = model(**batch)["loss"]
            loss.backward()
            grad_norm = clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            monitor.step(loss=loss, grad_norm=grad_norm, optimizer=optimizer, tokens=batch["input_ids"].numel())
            schedule.step()
            optimizer.zero_grad()
