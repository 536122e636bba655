"""Several processes: every rank calls monitor.step(), the loss is that of all tokens, rank 0 writes.

    torchrun --nproc-per-node 2 examples/torchrun_ddp.py --steps 400 --run-dir runs/torchrun_ddp

On GPUs the same program runs on NCCL, one process per GPU.
"""

import itertools
import os

import torch
import torch.distributed as dist
from tiny import CONTEXT, TinyGPT, Windows, arguments, library_text, warmup_cosine
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from pretrain_monitor.callbacks.loop import LoopMonitor


def main() -> None:
    args = arguments("torchrun_ddp")
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(TinyGPT().to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(args.steps))
    windows = Windows(library_text())
    loader = DataLoader(windows, batch_size=8, sampler=DistributedSampler(windows), drop_last=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    with LoopMonitor(args.run_dir) as monitor:
        for batch in itertools.islice(batches, args.steps):
            loss = model(batch.to(device, non_blocking=True))
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=len(batch) * CONTEXT)
            scheduler.step()
            optimizer.zero_grad()

    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
