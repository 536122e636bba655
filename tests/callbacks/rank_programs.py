"""What the tests of several ranks run in each rank, and the same training in one process to compare with.

Started by torchrun, or by hand with RANK and WORLD_SIZE set: ``python rank_programs.py DIRECTORY SCENARIO...``
"""

import atexit
import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from pretrain_monitor import Monitor
from pretrain_monitor.callbacks.gather import StepGatherer
from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.distributed import RankSum, do_all_ranks_join, global_grad_norm

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
STEPS = 12
CLIP = 0.1


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(32, 16), nn.Linear(16, 48), nn.GELU(), nn.Linear(48, 32))


def optimizer_for(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def local_batch(step, rank):
    """A batch whose number of tokens differs from rank to rank and from step to step."""
    generator = torch.Generator().manual_seed(100 * step + rank)
    rows = 1 + (step + 3 * rank) % 5
    return torch.randint(32, (rows, 9), generator=generator)


def loss_and_tokens(model, batch):
    targets = batch[:, 1:].flatten()
    return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), targets), targets.numel()


def reference(ranks=2):
    """Loss over all tokens and norm before clipping of each step, from one process that sees all batches."""
    model = build()
    optimizer = optimizer_for(model)
    steps = []
    for step in range(STEPS):
        parts = [loss_and_tokens(model, local_batch(step, rank)) for rank in range(ranks)]
        # Data parallelism averages gradients over ranks, whatever the number of their tokens.
        (sum(loss for loss, _ in parts) / ranks).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        tokens = sum(n for _, n in parts)
        steps.append((sum(loss.item() * n for loss, n in parts) / tokens, norm.item(), tokens))
    return steps


def train(model, monitor, *, raise_at=None, see_norm=None):
    optimizer = optimizer_for(model)
    for step in range(STEPS):
        if step == raise_at:
            fail(monitor)
        loss, tokens = loss_and_tokens(model, local_batch(step, dist.get_rank()))
        loss.backward()
        if see_norm is not None:
            see_norm(model)
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=tokens)
        optimizer.zero_grad()


def fail(monitor):
    save(monitor.monitor.run_dir, "failed_at", time.time())
    raise ValueError("no more data")


def ddp(directory):
    model = nn.parallel.DistributedDataParallel(build())
    with LoopMonitor(directory, QUIET) as monitor:
        train(model, monitor)


def fsdp(directory):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.debug import CommDebugMode

    model = build()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for part in (model[1], model[3], model):
        fully_shard(part, mesh=mesh)
    seen = []

    def see_norm(model):
        with CommDebugMode() as calls:
            norm = global_grad_norm(model.parameters())
        seen.append((norm.item(), calls.get_total_counts()))

    with LoopMonitor(directory, QUIET) as monitor:
        train(model, monitor, see_norm=see_norm)
    save(directory, "norms", seen)


def broken(directory):
    """Rank 1 has trouble with its values, a different one at each step."""
    good = {"loss": 2.0, "tokens": 10, "metrics": {"z": 1.0}}
    trouble = [
        {"loss": None},
        {"loss": "much"},
        {"metrics": object()},
        {"loss": torch.ones(3)},
        {"loss": torch.tensor(float("nan")), "tokens": 0},
        {"loss": float("nan")},
        {"tokens": "many"},
        {},
    ]
    with LoopMonitor(directory, QUIET) as monitor:
        for change in trouble:
            monitor.step(**{**good, **(change if dist.get_rank() == 1 else {"loss": 4.0, "tokens": 30})})


def resume(directory):
    rank = dist.get_rank()
    for start, steps in ((0, 5), (3, 4)):
        with LoopMonitor(directory, QUIET, start_step=start) as monitor:
            for step in range(steps):
                monitor.step(loss=torch.tensor(1.0 + rank), tokens=torch.tensor(10 + 90 * rank))
                # A checkpoint brings the last sums into the log, although the next step has not been made.
                if start == 0 and step == 2:
                    monitor.checkpointed()
                    save(directory, f"steps_at_checkpoint{rank}", monitor.monitor.detector.last_step)


def announcing(directory):
    """Each rank says something of its own; the sums, and with them the samples, come a step late."""
    rank = dist.get_rank()
    with LoopMonitor(directory, QUIET) as monitor:
        for step in range(8):
            if step == 4:
                monitor.announce(f"said by rank {rank}")
            if step == 6 and rank == 1:
                monitor.announce("said by nobody else")
            monitor.step(loss=torch.tensor(1.0 + rank), tokens=10)


def left_open(directory):
    """Never closed, and the process group is gone when the process exits."""
    monitor = LoopMonitor(directory, QUIET)
    for _ in range(5):
        monitor.step(loss=1.0 + dist.get_rank())
    dist.barrier()
    dist.destroy_process_group()
    atexit._run_exitfuncs()


def rank_0_alone(directory):
    """A program that reports from rank 0 only, as many do with their logging."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if dist.get_rank() == 0:
        monitor = Monitor(directory, QUIET)
        gather = StepGatherer(monitor, is_writer=True, join_timeout_s=0.5)
        gather.start(0)
        for step in (1, 2, 3):
            # Half of this norm is on rank 1, which will not be there to add it.
            half = DTensor.from_local(torch.ones(()), mesh, [Partial()])
            gather.push(step, loss=2.0, grad_norm=half, tokens=10)
        gather.finish("finished")
    total = torch.ones(())
    dist.all_reduce(total)
    save(directory, f"sum{dist.get_rank()}", total.item())


def joining(directory):
    """Who comes in time, who does not, and all get the same answer."""
    rank = dist.get_rank()
    answers = [do_all_ranks_join("together", 10)]
    time.sleep(0.4 * rank)
    answers.append(do_all_ranks_join("in time", 10))
    dist.barrier()
    time.sleep(1.0 * rank)
    answers.append(do_all_ranks_join("too late", 0.3))
    save(directory, f"answers{rank}", answers)


def late_sum(directory):
    """Rank 1 joins in when rank 0 has given up waiting: neither the group nor the next sum suffers."""
    rank, said = dist.get_rank(), None
    ranks = RankSum()
    time.sleep(1.0 * rank)
    ranks.exchange("first", torch.ones(1))
    try:
        ranks.take(0.2)
    except TimeoutError as error:
        said = str(error)
    ranks.exchange("second", torch.ones(1))
    label, total = ranks.take(30.0)
    save(directory, f"seen{rank}", [said, label, total.item()])


def raising(directory):
    """Rank 1 fails half-way through a training in which every step needs it."""
    model = nn.parallel.DistributedDataParallel(build())
    with LoopMonitor(directory, QUIET) as monitor:
        train(model, monitor, raise_at=5 if dist.get_rank() == 1 else None)


def leaving(directory):
    """Rank 1 fails half-way, but nothing except the monitor ties the ranks together."""
    with LoopMonitor(directory, QUIET) as monitor:
        for step in range(STEPS):
            if step == 5 and dist.get_rank() == 1:
                fail(monitor)
            monitor.step(loss=1.0 + dist.get_rank(), tokens=10)
    save(directory, "finished", monitor.global_step)
    end_at_once()  # the process group is broken


def save(directory, name, value):
    (directory / f"{name}.json").write_text(json.dumps(value))


def main():
    directory, scenarios = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    early = None
    if "early" in scenarios:
        # Before there is a process group only the launcher's RANK tells who writes.
        early = LoopMonitor(directory / "early", QUIET)
    if "FILE_STORE" in os.environ:
        rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group("gloo", init_method=f"file://{os.environ['FILE_STORE']}", rank=rank, world_size=ranks)
    else:
        dist.init_process_group("gloo")
    for scenario in scenarios:
        if early is not None and scenario == "early":
            with early:
                train(nn.parallel.DistributedDataParallel(build()), early)
            continue
        (directory / scenario).mkdir(exist_ok=True)
        globals()[scenario](directory / scenario)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    end_at_once()


def end_at_once():
    # gloo's threads now and then abort a process that exits in the usual way.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
