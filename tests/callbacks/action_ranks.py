"""Two ranks that act: each writes what it did. Started by torchrun with a directory."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pretrain_monitor.actions import Checkpoint, Rewind, SkipStep, Stop
from pretrain_monitor.callbacks.loop import LoopMonitor

torch.set_num_threads(1)
QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
folder = Path(sys.argv[1])


def write(scenario: str, **facts: Any) -> None:
    (folder / f"{scenario}-{dist.get_rank()}.json").write_text(json.dumps(facts), encoding="utf-8")


def digest(model: Any) -> str:
    return str([parameter.double().sum().item() for parameter in model.parameters()])


def loop(scenario: str, *actions: Any, poisoned: int, steps: int = 30) -> None:
    """
    Args:
        poisoned: batch that is poison, on rank 1 only.
    """
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rank = dist.get_rank()
    data = iter(torch.randn(200, 256, 4, generator=torch.Generator().manual_seed(rank)))
    run_dir = folder / scenario
    trail = []

    def save(step: int) -> Path:
        path = run_dir / f"{step}.pt"
        if rank == 0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        dist.barrier()
        return path

    def load(path: str) -> None:
        if scenario == "fails" and rank == 1:
            raise RuntimeError("no room here")
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])

    with LoopMonitor(run_dir, QUIET, actions=actions, save=save, load=load) as monitor:
        batch = monitor.global_step  # of a process that goes on where another one ended
        for _ in range(batch):
            next(data)
        while monitor.global_step < steps and not monitor.should_stop:
            for _ in range(monitor.take_steps_to_skip()):
                next(data)
                batch += 1
            batch += 1
            loss = (model(next(data)) - 1).square().mean()
            if batch == poisoned and rank == 1:
                loss = loss * math.nan
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if not monitor.should_skip(norm):
                optimizer.step()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=8)
            trail.append(monitor.global_step)
            if monitor.global_step % 5 == 0:
                monitor.checkpointed(save(monitor.global_step))
        write(
            scenario,
            trail=trail,
            read=batch,
            step=monitor.global_step,
            weights=digest(model),
            status=monitor.exit_status,
        )


def paused() -> None:
    """The file is there on the directory that both see; rank 0 alone looks."""
    run_dir = folder / "paused"
    if dist.get_rank() == 0:
        run_dir.mkdir()
        (run_dir / "pause_actions").touch()
    dist.barrier()
    loop("paused", SkipStep(), poisoned=12, steps=16)


def hugging_face() -> None:
    from test_huggingface_actions import InOrder, data
    from tiny_hf import trainer, watched

    run = trainer(
        folder / "hf", data=data(80, poisoned=(18,), batch=2), kind=InOrder, max_steps=30, save_strategy="steps",
        save_steps=5, ddp_backend="gloo", per_device_train_batch_size=1,
    )  # fmt: skip
    watched(run, folder / "hf", actions=[Rewind(), Checkpoint(when="nonfinite")])
    run.train()
    write("hf", step=run.state.global_step, weights=digest(run.model), trail=[])


def lightning() -> None:
    from lightning.pytorch.strategies import DDPStrategy
    from lightning_parts import loader
    from lightning_parts import trainer as lightning_trainer
    from test_lightning_actions import Poisonable, data, monitor, saving

    place = folder / "lightning"
    made = lightning_trainer(
        monitor(place, Rewind(), Checkpoint(when="nonfinite")), saving(place, 5), default_root_dir=str(place),
        enable_checkpointing=True, max_epochs=None, max_steps=30, devices=2, use_distributed_sampler=False,
        strategy=DDPStrategy(process_group_backend="gloo"),
    )  # fmt: skip
    model = Poisonable()
    # Lightning would shuffle what it shares out.
    made.fit(model, loader(data(60, poisoned=(18,) if dist.get_rank() == 1 else ())))
    write("lightning", step=made.global_step, weights=digest(model), trail=[])


def main() -> None:
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    dist.init_process_group("gloo")
    if sys.argv[2:] == ["restart"]:
        loop("restart", Rewind(by_restart=True, skip_steps=8, lr_factor=0.5), poisoned=18)
        dist.barrier()
        os._exit(0)
    loop("skip", SkipStep(), poisoned=12)
    loop("rewind", Rewind(skip_steps=8), poisoned=18)
    loop("stop", Stop(exit_status=9), poisoned=18)
    loop("fails", Rewind(), poisoned=18)
    paused()
    hugging_face()
    lightning()
    dist.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
