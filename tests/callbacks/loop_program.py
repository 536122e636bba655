"""A training program as a user would write it, for tests that start, kill and resume real processes.

Trains a small character model on this file; everything about step k depends on k and the checkpoint alone.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from pretrain_monitor.callbacks.loop import LoopMonitor

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}, "warmup_steps": 100}
TEXT = torch.tensor(list(Path(__file__).read_bytes()))
CONTEXT = 8


def batch(step):
    generator = torch.Generator().manual_seed(step)
    start = torch.randint(len(TEXT) - CONTEXT - 1, (32,), generator=generator)
    rows = TEXT[start[:, None] + torch.arange(CONTEXT + 1)]
    return rows[:, :-1], rows[:, -1]


def build():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(256, 8), nn.Flatten(), nn.Linear(8 * CONTEXT, 32), nn.ReLU(), nn.Linear(32, 256))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, burst)


def burst(step):
    """A learning rate that is 60 times too high for five steps: a real instability."""
    return 60.0 if 230 <= step < 235 else 1.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--raise-at", type=int, default=-1)
    parser.add_argument("--checkpoint-every", type=int, default=100)
    parser.add_argument("--end", choices=["with", "close", "nothing", "sys.exit", "interrupt"], default="with")
    args = parser.parse_args()
    torch.set_num_threads(1)

    parts = build()
    model, optimizer, scheduler = parts
    checkpoint, first = args.directory / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        first = saved["step"]
        for part, state in zip(parts, saved["states"], strict=True):
            part.load_state_dict(state)

    monitor = LoopMonitor(args.directory / "run", QUIET, start_step=first)

    def train():
        for step in range(first, args.steps):
            if step == args.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if step == args.raise_at:
                raise ValueError("no more data")
            inputs, targets = batch(step)
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
            optimizer.step()
            scheduler.step()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=targets.numel())
            optimizer.zero_grad()
            if (step + 1) % args.checkpoint_every == 0:
                torch.save({"step": step + 1, "states": [part.state_dict() for part in parts]}, checkpoint)
                monitor.checkpointed()
        if args.end == "sys.exit":
            sys.exit(0)
        if args.end == "interrupt":
            raise KeyboardInterrupt

    if args.end in ("close", "nothing"):
        train()
        if args.end == "close":
            monitor.close()
    else:
        with monitor:
            train()


if __name__ == "__main__":
    main()
