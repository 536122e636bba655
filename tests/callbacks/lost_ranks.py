"""Two ranks that act, of which rank 1 is lost: ``lost_ranks.py DIR HOW WHERE``, with the variables of a launcher."""

from __future__ import annotations

import datetime
import math
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pretrain_monitor.actions import Checkpoint, Rewind, SkipStep
from pretrain_monitor.callbacks.loop import LoopMonitor

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
TIMEOUT_S = 6
LOST_AT, POISONED, STEPS = 14, 18, 30


def be_lost(how: str) -> None:
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def main() -> None:
    run_dir, how, where = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=TIMEOUT_S))
    rank = dist.get_rank()
    model = DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    data = iter(torch.randn(200, 64, 4, generator=torch.Generator().manual_seed(rank)))

    def save(step: int) -> Path:
        path = run_dir / f"{step}.pt"
        if rank == 0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        dist.barrier()
        return path

    def load(path: str) -> None:
        if where == "going_back" and rank == 1:
            be_lost(how)
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])

    # The update is left out on the first of two poisoned batches only, so that there is something to go back for.
    actions = (SkipStep(at_most=1), Checkpoint(when="nonfinite"), Rewind())
    with LoopMonitor(run_dir, QUIET, actions=actions, save=save, load=load) as monitor:
        while monitor.global_step < STEPS and not monitor.should_stop:
            step = monitor.global_step + 1
            if where == "training" and rank == 1 and step == LOST_AT:
                be_lost(how)
            loss = (model(next(data)) - 1).square().mean()
            if step in (POISONED, POISONED + 1):
                loss = loss * math.nan
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if not monitor.should_skip(norm):
                optimizer.step()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer)
            if monitor.global_step % 5 == 0:
                monitor.checkpointed(save(monitor.global_step))


if __name__ == "__main__":
    main()
