"""What each rank of the probe tests of several ranks trains: ``lightning_probe_ranks.py FOLDER``, by torchrun."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning_probed import ProbedLM, fit, watch
from torch.distributed.fsdp import fully_shard

from pretrain_monitor.callbacks import gather
from pretrain_monitor.distributed import do_all_ranks_join
from pretrain_monitor.probes import agreement
from tests.probes.probe_parts import Nasty, choices, perplexity

RANK = int(os.environ["RANK"])
GROUP = {"process_group_backend": "gloo", "timeout": timedelta(seconds=60)}

# Known and harmless here: no worker processes, torch's own deprecations.
warnings.simplefilter("ignore")


class ShardedLM(ProbedLM):
    def __init__(self) -> None:
        super().__init__()
        self.is_sharded = False

    def configure_model(self) -> None:
        if not self.is_sharded:
            self.is_sharded = True
            mesh = self.device_mesh["data_parallel"]
            for part in (self.net[1], self.net[4], self.net):
                fully_shard(part, mesh=mesh)


def train(folder: Path, name: str, kind: str) -> dict[str, Any]:
    model = ShardedLM() if kind == "parallel" else ProbedLM()
    strategy = ModelParallelStrategy(2, 1, **GROUP) if kind == "parallel" else DDPStrategy(**GROUP)
    monitor = watch(folder / name / "run", [perplexity(), choices(), Nasty()])
    callbacks = [] if name.startswith("bare") or (name == "rank 0 alone" and RANK == 1) else [monitor]
    seen = fit(model, *callbacks, seed=RANK, strategy=strategy, devices=2, max_steps=40, limit_val_batches=0)
    whole = {
        key: value.full_tensor() if hasattr(value, "full_tensor") else value
        for key, value in model.state_dict().items()
    }
    if RANK == 0:
        torch.save(whole, folder / name / "end.pt")
    return seen


def main() -> None:
    folder = Path(sys.argv[1])
    for name, kind in {
        "bare ddp": "ddp", "ddp": "ddp", "bare parallel": "parallel", "parallel": "parallel", "rank 0 alone": "ddp",
    }.items():  # fmt: skip
        (folder / name).mkdir(parents=True, exist_ok=True)
        if name == "rank 0 alone":
            # The last one: afterwards the ranks count their monitors differently.
            agreement.JOIN_TIMEOUT_S = 0.5
            gather.do_all_ranks_join = lambda name, timeout_s: do_all_ranks_join(name, 0.5)
        said = logging.FileHandler(folder / name / f"said{RANK}")
        logging.getLogger("pretrain_monitor").addHandler(said)
        seen = train(folder, name, kind)
        logging.getLogger("pretrain_monitor").removeHandler(said)
        (folder / name / f"rank{RANK}.json").write_text(json.dumps(seen))
    # gloo processes that merely return from training sometimes abort on the way out.
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
