"""Lightning Fabric: as in a loop of your own; fabric.clip_gradients returns the norm before clipping.

    python examples/fabric_loop.py --steps 400 --run-dir runs/fabric_loop

Gradients are accumulated over two batches here: the monitor is told once per optimizer step.
"""

import itertools

import torch
from lightning.fabric import Fabric
from tiny import CONTEXT, TinyGPT, Windows, arguments, library_text, warmup_cosine
from torch.utils.data import DataLoader

from pretrain_monitor.callbacks.loop import LoopMonitor

ACCUMULATE = 2


def main() -> None:
    args = arguments("fabric_loop")
    fabric = Fabric(devices=1)
    fabric.launch()
    fabric.seed_everything(0, verbose=False)
    model = TinyGPT()
    model, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=3e-3))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(args.steps))
    loader = fabric.setup_dataloaders(DataLoader(Windows(library_text()), batch_size=8, shuffle=True, drop_last=True))
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    with LoopMonitor(args.run_dir) as monitor:
        for _ in range(args.steps):
            step_loss, tokens = 0.0, 0
            for micro in range(ACCUMULATE):
                batch = next(batches)
                with fabric.no_backward_sync(model, enabled=micro < ACCUMULATE - 1):
                    loss = model(batch) / ACCUMULATE
                    fabric.backward(loss)
                step_loss, tokens = step_loss + loss.detach(), tokens + len(batch) * CONTEXT
            norm = fabric.clip_gradients(model, optimizer, max_norm=1.0)
            optimizer.step()
            monitor.step(loss=step_loss, grad_norm=norm, optimizer=optimizer, tokens=tokens)
            scheduler.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    main()
