"""One of two processes that train together on gloo: ``python lightning_ranks.py SCENARIO DIR``.

Which one it is comes from the environment, as Lightning starts its own processes. What it saw goes to
``DIR/rank<k>.json``; the tests read it there.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning_parts import QUIET, TinyLM, fingerprint, loader, rows, trainer
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.debug import CommDebugMode

from pretrain_monitor import ListSink
from pretrain_monitor.callbacks.lightning import MonitorCallback
from pretrain_monitor.distributed import global_grad_norm

RANK = int(os.environ["LOCAL_RANK"])
STEPS = 6
PADDING = -100

# Known and harmless here: no worker processes, a sampler that is replaced on purpose, torch's own deprecations.
warnings.simplefilter("ignore")


def batches(rank: int) -> list[dict[str, torch.Tensor]]:
    """What each rank trains on: rank 1 has more padding, a different amount each step."""
    made = []
    for step in range(STEPS):
        data = rows(4, seed=10 * step + rank)
        batch = {name: torch.stack([row[name] for row in data]) for name in data[0]}
        padded = 8 * (1 + step % 2) * rank
        batch["labels"].view(-1)[:padded] = PADDING
        batch["attention_mask"] = (batch["labels"] != PADDING).long()
        made.append(batch)
    return made


class ShardedLM(TinyLM):
    """fully_shard on two ranks; counts the collectives that the norm of the whole model takes."""

    def __init__(self) -> None:
        super().__init__()
        self.collectives: list[int] = []
        self.is_dtensor: list[bool] = []
        self.is_sharded = False

    def configure_model(self) -> None:
        if not self.is_sharded:
            self.is_sharded = True
            mesh = self.device_mesh["data_parallel"]
            for layer in (self.net[1], self.net[4]):
                fully_shard(layer, mesh=mesh)
            fully_shard(self.net, mesh=mesh)

    def on_before_optimizer_step(self, optimizer) -> None:
        with CommDebugMode() as collectives:
            norm = global_grad_norm(self.parameters())
        self.collectives.append(collectives.get_total_counts())
        self.norms.append(norm.item())
        self.is_dtensor += [hasattr(p.grad, "device_mesh") for p in self.parameters()]


class CopiedLM(TinyLM):
    """Under a strategy that calls two ranks two halves of one model, but leaves the model alone."""

    def configure_model(self) -> None:
        pass


class RaiseOn(L.Callback):
    """Comes before the monitor, so that the monitor of rank 1 never hears of the step that rank 0 has reported."""

    def on_train_batch_end(self, trainer, *_):
        if RANK == 1 and trainer.global_step == 4:
            raise KeyError("rank 1 only")


class UnreadableBatch(dict):
    """Works for the model, not for the monitor."""

    def get(self, *_):
        raise RuntimeError("not to be asked")


def train(model, strategy, directory, *before, rank=RANK, count_tokens=None, batch_type=dict, **options):
    """Train with a monitor and tell what it saw; each rank names a directory of its own, to see who writes."""
    sink = ListSink()
    monitor = MonitorCallback(directory / f"rank{RANK}", QUIET, sinks=[sink], count_tokens=count_tokens)
    run = trainer(*before, monitor, strategy=strategy, devices=2, use_distributed_sampler=False, **options)
    run.fit(model, loader([batch_type(batch) for batch in batches(rank)], batch_size=None))
    return {
        "losses": model.losses,
        "norms": model.norms,
        "samples": [sample.to_json() for sample in sink.samples],
        "has_directory": (directory / f"rank{RANK}").exists(),
    }


def reference() -> tuple[list[float], list[float]]:
    """Losses and norms of the same training in one process: the gradient is the mean over the two ranks' batches."""
    model = TinyLM()
    optimizer = model.configure_optimizers()
    losses, norms = [], []
    for pair in zip(batches(0), batches(1), strict=True):
        optimizer.zero_grad()
        loss = sum(model.loss(batch) for batch in pair) / 2
        loss.backward()
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def ddp() -> DDPStrategy:
    return DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=60))


def parallel(data: int, tensor: int) -> ModelParallelStrategy:
    group = {"process_group_backend": "gloo", "timeout": timedelta(seconds=60)}
    return ModelParallelStrategy(data_parallel_size=data, tensor_parallel_size=tensor, **group)


def finish_together() -> None:
    """gloo processes that merely return from training sometimes abort on the way out."""
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)


def main(scenario: str, directory: Path) -> None:
    seen = {}
    if scenario == "crash":
        train(TinyLM(), ddp(), directory / "crash", RaiseOn())
    watched, bare = TinyLM(dropout=0.1), TinyLM(dropout=0.1)
    torch.manual_seed(RANK)
    seen["ddp"] = train(watched, ddp(), directory / "ddp")
    torch.manual_seed(RANK)
    trainer(strategy=ddp(), devices=2, use_distributed_sampler=False).fit(bare, loader(batches(RANK), batch_size=None))
    seen["fingerprints"] = [fingerprint(watched), fingerprint(bare)]
    seen["plain"] = train(TinyLM(), ddp(), directory / "plain")
    options = {"gradient_clip_val": 100.0, "accumulate_grad_batches": 2}
    seen["accumulated"] = train(TinyLM(), ddp(), directory / "accumulated", **options)
    count = (lambda batch: 1 / 0) if RANK == 1 else (lambda batch: 32)
    seen["one rank cannot count"] = train(TinyLM(), ddp(), directory / "count", count_tokens=count)
    kind = UnreadableBatch if RANK == 1 else dict
    seen["one rank cannot read"] = train(TinyLM(), ddp(), directory / "unreadable", batch_type=kind)
    for name, options in {"sharded": {}, "sharded and clipped": {"gradient_clip_val": 100.0}}.items():
        model = ShardedLM()
        seen[name] = train(model, parallel(2, 1), directory / name, **options)
        seen[name] |= {"collectives": model.collectives, "all_dtensors": all(model.is_dtensor)}
    seen["tensor parallel"] = train(CopiedLM(), parallel(1, 2), directory / "copied", rank=0)
    seen["reference"] = dict(zip(("losses", "norms"), reference(), strict=True))
    (directory / f"rank{RANK}.json").write_text(json.dumps(seen))
    finish_together()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
