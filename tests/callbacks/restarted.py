"""A training that goes back in a new process: started by ``pretrain-monitor run`` with a folder and steps to skip."""

import os
import sys
from pathlib import Path

from test_huggingface_actions import InOrder, data
from tiny_hf import QUIET, trainer, watched, weights_hash

from pretrain_monitor.actions import Rewind

folder = Path(sys.argv[1])
rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
starts = folder / f"starts{rank}"
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")

run = trainer(
    folder, data=data(60, poisoned=(18,)), kind=InOrder, max_steps=30, save_strategy="steps", save_steps=5,
    per_device_train_batch_size=2 // ranks, **({"ddp_backend": "gloo"} if ranks > 1 else {}),
)  # fmt: skip
watched(run, folder, actions=[Rewind(by_restart=True, skip_steps=int(sys.argv[2]))], config=QUIET)
run.train()
(folder / f"weights{rank}").write_text(weights_hash(run.model))
if ranks > 1:
    import torch.distributed as dist

    dist.barrier()
    dist.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)
