"""A training that goes back in a new process: started by ``pretrain-monitor run``: ``restarted.py KIND DIR SKIP``."""

import os
import sys
from pathlib import Path

import torch

from pretrain_monitor.actions import Rewind

torch.set_num_threads(1)  # as where it is compared with: sums of several threads differ in their last digit
kind, folder, skip = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
actions = [Rewind(by_restart=True, skip_steps=skip)]
STEPS, POISONED = 30, 18


def hugging_face() -> str:
    from test_huggingface_actions import InOrder, data
    from tiny_hf import QUIET, trainer, watched, weights_hash

    run = trainer(
        folder, data=data(60, poisoned=(POISONED,)), kind=InOrder, max_steps=STEPS, save_strategy="steps",
        save_steps=5, per_device_train_batch_size=2 // ranks, **({"ddp_backend": "gloo"} if ranks > 1 else {}),
    )  # fmt: skip
    watched(run, folder, actions=actions, config=QUIET)
    run.train()
    return weights_hash(run.model)


def lightning(per_pass: int = 60, steps: int = STEPS) -> str:
    from lightning_parts import fingerprint
    from test_lightning_actions import data, monitor, run, saving

    callbacks = (monitor(folder, *actions), saving(folder, 5))
    found = data(60, poisoned=(POISONED,))[: 4 * per_pass]
    _, model = run(folder, found, *callbacks, enable_checkpointing=True, max_steps=steps)
    return fingerprint(model)


def loop() -> str:
    from test_loop_actions import Loop

    run = Loop(folder, poisoned=(POISONED,), steps=STEPS, actions=actions)
    return str([parameter.tolist() for parameter in run.model.parameters()])


def main() -> None:
    starts = folder / f"starts{rank}"
    starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
    kinds = {"hf": hugging_face, "lightning": lightning, "loop": loop}
    kinds["short_pass"] = lambda: lightning(per_pass=20, steps=25)
    (folder / f"weights{rank}").write_text(kinds[kind]())
    if ranks > 1:
        import torch.distributed as dist

        dist.barrier()
        dist.destroy_process_group()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
