"""What the tests of probes under several ranks run in each rank: ``probe_rank_programs.py DIRECTORY SCENARIO...``

Started by torchrun, or by hand with RANK, WORLD_SIZE and FILE_STORE set. What a rank saw goes to
``DIRECTORY/SCENARIO/rank<k>.json``; what it says, with its rank in front, to ``DIRECTORY/SCENARIO/said<k>``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

from pretrain_monitor.callbacks import gather
from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.distributed import do_all_ranks_join
from pretrain_monitor.probes import agreement, scoring
from pretrain_monitor.probes.findings import Findings
from tests.probes.probe_parts import EVERY_10, Nasty, choices, perplexity, randomness, weights

RANK = int(os.environ.get("RANK", "0"))
QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
ONLY_REGULAR = {"early": False, "at_start": False, "at_end": False}
VOCABULARY, WIDTH = 64, 32


class Block(nn.Module):
    """Sees all tokens up to its own, with dropout. In evaluation, memory ends where there are too many rows."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.1)
        self.most_rows: int | None = None
        self.error: Exception | None = None

    def forward(self, x):
        if not self.training and self.error is not None:
            raise self.error
        if not self.training and self.most_rows is not None and x.shape[0] > self.most_rows:
            raise torch.OutOfMemoryError(f"no room for {x.shape[0]} rows")
        seen = torch.cumsum(self.mix(x), 1) / torch.arange(1, x.shape[1] + 1)[:, None]
        return x + self.drop(self.out(torch.tanh(seen)))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.max_seq_len = 16
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def build(kind):
    torch.manual_seed(0)
    model = Model()
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp":
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for part in (*model.blocks, model):
            fully_shard(part, mesh=mesh)
    return model


def inner(model):
    return getattr(model, "module", model)


def train(model, steps, monitor=None, *, after=None):
    """Train with dropout on batches drawn at random; everything that probes could have changed."""
    torch.manual_seed(100 + RANK), np.random.seed(RANK), random.seed(RANK)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for step in range(steps):
        batch = torch.randint(VOCABULARY, (4, 12))
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if monitor is not None:
            monitor.step(loss=loss, optimizer=optimizer, tokens=44)
        if after is not None:
            after(step + 1)
        optimizer.zero_grad()
    return {"weights": weights(inner(model)), "losses": losses, "random": randomness()}


def schedule(**changes):
    return {**QUIET, "probes": {**EVERY_10, **changes}}


def monitored(directory, probes, model, **settings):
    return LoopMonitor(directory / "run", schedule(**settings), probes=probes, model=model)


class Counted:
    """Another probe, with a count of its calls."""

    def __init__(self, probe) -> None:
        self.name, self.probe, self.calls = probe.name, probe, 0

    def __call__(self, model):
        self.calls += 1
        return self.probe(model)


class RaisingOnRank1(Counted):
    """Gives up before the ranks have met in the probe, or after."""

    def __init__(self, probe, *, before: bool) -> None:
        super().__init__(probe)
        self.before = before

    def __call__(self, model):
        self.calls += 1
        result = None if self.before and RANK == 1 else self.probe(model)
        if RANK == 1:
            raise RuntimeError("this rank has had enough")
        return result


@contextlib.contextmanager
def failing(when):
    """Rank 1 cannot make a model ready to be measured, or cannot put it back afterwards."""
    neutral = scoring.neutral

    @contextlib.contextmanager
    def broken(model):
        if when == "entering":
            raise RuntimeError("this rank has had enough")
        with neutral(model):
            yield
        raise RuntimeError("this rank has had enough")

    if RANK == 1 and when in ("entering", "leaving"):
        scoring.neutral = broken
    yield
    scoring.neutral = neutral


# Scenarios: each gives what a rank has to tell.


def numbers(directory):
    """All metrics and the cost of each document, from models that each rank has, or a part of which."""
    seen = {}
    for kind in ("ddp", "fsdp"):
        model = build(kind)
        for name, probe in probes_of_all_sizes().items():
            result = probe(model)
            scores = {part: [s.nats.tolist(), s.tokens.tolist(), s.bytes.tolist()] for part, s in result.scores.items()}
            seen[f"{kind} {name}"] = {"metrics": dict(result), "scores": scores}
    return seen


def probes_of_all_sizes():
    return {
        "many batches": perplexity(),
        "one batch": perplexity(batch_tokens=10_000),
        "one document": perplexity({"single": ["just this"]}),
        "packed": perplexity(windows="packed"),
        "questions": choices(),
    }


def neutral_ddp(directory):
    return both_ways(directory, "ddp", 200)


def neutral_fsdp(directory):
    return both_ways(directory, "fsdp", 40)


def both_ways(directory, kind, steps):
    """With probes at every chance, and without."""
    bare = train(build(kind), steps)
    model, spread = build(kind), []
    with monitored(directory, [perplexity(), choices(), Nasty()], model) as monitor:

        def after(step):
            if step % 15 == 0:
                monitor.checkpointed()
            spread.append(all(hasattr(p, "device_mesh") for p in model.parameters()))

        probed = train(model, steps, monitor, after=after)
    return {"bare": bare, "probed": probed, "is_spread_after_each_round": all(spread)}


def raising(directory):
    """Rank 1 gives up in several ways; the ranks go on together."""
    seen = {"bare": train(build("ddp"), 25)}
    for name, probe in {
        "before": RaisingOnRank1(perplexity(), before=True),
        "after": RaisingOnRank1(perplexity(), before=False),
        "alone": RaisingOnRank1(Nasty(), before=False),
        "texts": Counted(perplexity({"own": [f"text of rank {RANK}", "more"]})),
        "entering": Counted(perplexity()),
        "leaving": Counted(perplexity()),
    }.items():
        model, healthy = build("ddp"), Counted(choices())
        with failing(name), monitored(directory / name, [probe, healthy], model) as monitor:
            result = train(model, 25, monitor)
        seen[name] = {**result, "calls": [probe.calls, healthy.calls]}
    return seen


def raising_fsdp(directory):
    """The same where a forward pass takes all ranks; rank 1 also fails in the middle of one."""
    seen = {"bare": train(build("fsdp"), 25)}
    for name, probe in {
        "before": RaisingOnRank1(perplexity(), before=True),
        "after": RaisingOnRank1(perplexity(), before=False),
        "inside": Counted(perplexity()),
        "entering": Counted(perplexity()),
        "leaving": Counted(perplexity()),
    }.items():
        model, healthy = build("fsdp"), Counted(choices())
        if name == "inside" and RANK == 1:
            model.blocks[1].error = ValueError("mat1 and mat2")
        with failing(name), monitored(directory / name, [probe, healthy], model) as monitor:
            result = train(model, 25, monitor)
        seen[name] = {**result, "calls": [probe.calls, healthy.calls]}
    return seen


def memory(directory):
    """Memory ends on rank 1 alone, in the middle of a forward pass: with too many rows, or whatever there is."""
    seen = {}
    for kind in ("ddp", "fsdp"):
        seen[f"{kind} bare"] = train(build(kind), 25)
        for most in (1, 0):
            model, probe = build(kind), Counted(perplexity())
            if RANK == 1:
                inner(model).blocks[1].most_rows = most
            with monitored(directory / f"{kind}{most}", [probe], model, at_end=False) as monitor:
                result = train(model, 25, monitor)
            seen[f"{kind} {most}"] = {**result, "calls": probe.calls}
    return seen


def rank_0_alone(directory):
    """Only rank 0 has a monitor, or only rank 0's has probes, or only rank 0 says that a checkpoint was saved."""
    gather.do_all_ranks_join = lambda name, timeout_s: do_all_ranks_join(name, 0.5)
    seen = {"bare": train(build("ddp"), 25)}
    for number, name in enumerate(("monitor", "probes", "checkpoint", "")):
        # Monitors are counted, so that the ranks mean the same one. Each of these stands for a run of its own.
        gather._gatherers, agreement._names = (itertools.count(100 * (number + 1)) for _ in range(2))
        if not name:
            break
        # In the last of them ranks do come to each other, however busy the machine is.
        agreement.JOIN_TIMEOUT_S = 5.0 if name == "checkpoint" else 0.5
        model, probe = build("ddp"), Counted(perplexity())
        if name == "monitor" and RANK == 1:
            seen[name] = train(model, 25)
            continue
        probes = [] if name == "probes" and RANK == 1 else [probe]
        with monitored(directory / name, probes, model) as monitor:

            def after(step, name=name, monitor=monitor):
                if name == "checkpoint" and RANK == 0 and step in (5, 7):
                    monitor.checkpointed()

            result = train(model, 25, monitor, after=after)
        seen[name] = {**result, "calls": probe.calls}
    gather.do_all_ranks_join, agreement.JOIN_TIMEOUT_S = do_all_ranks_join, 60.0
    return seen


def broken_writer(directory):
    """What only rank 0 does fails there."""
    seen = {"bare": train(build("ddp"), 25)}
    for name in ("tell", "recall"):
        model, probe = build("ddp"), Counted(perplexity())
        kept = getattr(Findings, name)
        if RANK == 0:
            setattr(Findings, name, lambda self, *given: 1 / 0)
        with monitored(directory / name, [probe], model) as monitor:
            result = train(model, 25, monitor)
        setattr(Findings, name, kept)
        seen[name] = {**result, "calls": probe.calls}
    return seen


class Slow:
    name = "slow"

    def __init__(self, seconds=0.0) -> None:
        self.seconds, self.steps, self.now = seconds, [], 0

    def __call__(self, model):
        self.steps.append(self.now)
        time.sleep(self.seconds)
        return {"value": 1.0}


def told_by_rank_0(directory):
    """Rounds that only rank 0 can decide on: by tokens, by time, after an incident."""
    seen = {}
    for name, (steps, probe, settings) in {
        "tokens": (60, Slow(), {"every_steps": None, "every_tokens": 2000.0}),
        "budget": (200, Slow(0.04), {"budget_percent": 20.0}),
        "incident": (400, Slow(), {"every_steps": 1000}),
    }.items():
        with monitored(directory / name, [probe], nn.Linear(1, 1), **{**ONLY_REGULAR, **settings}) as monitor:
            for step in range(1, steps + 1):
                probe.now = step
                loss = 3.0 + 0.01 * (step * 7 % 13)
                monitor.step(loss=loss * (3 if name == "incident" and 300 <= step < 306 else 1), tokens=50)
                time.sleep(0.002 if name == "budget" else 0)
        seen[name] = probe.steps
    return seen


def asked_twice(directory):
    """Two checkpoints of one step: rank 0 wants a round after the second one only, and comes to it last."""
    agreement.JOIN_TIMEOUT_S = 5.0
    both = agreement.Agreement(is_writer=RANK == 0)
    told = [both.on("5 saved", None)]
    time.sleep(0.5 if RANK == 0 else 0)
    told += [both.on("5 saved", "checkpoint"), both.on("6", None), both.on("6 saved", None)]
    agreement.JOIN_TIMEOUT_S = 60.0
    return told


def killed(directory):
    """Rank 1 is killed in the middle of a round."""

    class Deadly(Counted):
        def __call__(self, model):
            if RANK == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(model)

    model = build("ddp")
    with monitored(directory, [Deadly(perplexity())], model) as monitor:
        train(model, 25, monitor)


def early(directory, begin):
    """The monitor is made before there is a process group."""
    probe = Counted(perplexity())
    torch.manual_seed(0)
    monitor = monitored(directory, [probe], Model())
    begin()
    with monitor:
        monitor.model = model = build("ddp")
        result = train(model, 25, monitor)
    return {**result, "calls": probe.calls, "bare": train(build("ddp"), 25)}


def main():
    directory, scenarios = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    for number, scenario in enumerate(scenarios):
        folder = directory / scenario
        folder.mkdir(exist_ok=True)
        said = logging.FileHandler(folder / f"said{RANK}")
        logging.getLogger("pretrain_monitor").addHandler(said)
        if scenario == "early":
            seen = early(folder, begin)
        else:
            if number == 0:
                begin()
            seen = globals()[scenario](folder)
        logging.getLogger("pretrain_monitor").removeHandler(said)
        (folder / f"rank{RANK}.json").write_text(json.dumps(seen))
    dist.barrier()
    dist.destroy_process_group()
    # gloo's threads now and then abort a process that exits in the usual way.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def begin():
    group = {"timeout": timedelta(seconds=60)}
    if "FILE_STORE" in os.environ:
        group = {
            "init_method": f"file://{os.environ['FILE_STORE']}",
            "rank": RANK,
            "world_size": int(os.environ["WORLD_SIZE"]),
            "timeout": timedelta(seconds=20),
        }
    dist.init_process_group("gloo", **group)


if __name__ == "__main__":
    main()
