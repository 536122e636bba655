"""A training loop of your own: make a LoopMonitor, call monitor.step() after each optimizer.step().

    python examples/pytorch_loop.py --steps 400 --run-dir runs/pytorch_loop

Then see it:

    pretrain-monitor replay runs/pytorch_loop
    pretrain-monitor tensorboard runs/pytorch_loop
"""

import itertools

import torch
from tiny import CONTEXT, TinyGPT, Windows, arguments, library_text, warmup_cosine
from torch.utils.data import DataLoader

from pretrain_monitor.callbacks.loop import LoopMonitor


def main() -> None:
    args = arguments("pytorch_loop")
    torch.manual_seed(0)
    model = TinyGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(args.steps))
    loader = DataLoader(Windows(library_text()), batch_size=16, shuffle=True, drop_last=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    with LoopMonitor(args.run_dir) as monitor:
        for batch in itertools.islice(batches, args.steps):
            loss = model(batch)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=len(batch) * CONTEXT)
            scheduler.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    main()
