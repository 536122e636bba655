"""A training that goes back in a new process: started by ``pretrain-monitor run`` with a directory."""

import sys
from pathlib import Path

from test_huggingface_actions import InOrder, data
from tiny_hf import QUIET, trainer, watched, weights_hash

from pretrain_monitor.actions import Rewind

folder = Path(sys.argv[1])
starts = folder / "starts"
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")

run = trainer(folder, data=data(40, poisoned=(18,)), kind=InOrder, max_steps=30, save_strategy="steps", save_steps=5)
watched(run, folder, actions=[Rewind(by_restart=True, skip_steps=int(sys.argv[2]))], config=QUIET)
run.train()
(folder / "weights").write_text(weights_hash(run.model))
