"""What each rank of the probe tests of several ranks trains: ``hf_probe_ranks.py FOLDER SCENARIO...``"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import tiny_hf
import torch
import torch.distributed as dist
from transformers import LlamaForCausalLM
from transformers.distributed.configuration_utils import DistributedConfig

from pretrain_monitor.callbacks import gather
from pretrain_monitor.distributed import do_all_ranks_join
from pretrain_monitor.probes import agreement
from tests.probes.probe_parts import EVERY_10, Nasty, choices, perplexity, randomness, weights

RANK = int(os.environ["RANK"])
STEPS = 40


def sharded(folder: Path) -> Any:
    """A model that transformers spreads over the ranks when it loads it, by FSDP2."""
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    if RANK == 0:
        tiny_hf.llama().save_pretrained(folder / "start")
    dist.barrier()
    return LlamaForCausalLM.from_pretrained(folder / "start", distributed_config=DistributedConfig(fsdp_size=2))


def train(folder: Path, scenario: str) -> dict[str, Any]:
    model = sharded(folder) if "sharded" in scenario else tiny_hf.gpt2()
    trainer = tiny_hf.trainer(
        folder, model, ddp_backend="gloo", max_steps=STEPS, save_strategy="steps", save_steps=15,
        gradient_accumulation_steps=2, save_only_model=True,
    )  # fmt: skip
    heldout = perplexity()
    monitor = tiny_hf.MonitorCallback(
        folder / "run", {**tiny_hf.QUIET, "probes": EVERY_10}, probes=[heldout, choices(), Nasty()]
    )
    if scenario == "broken monitor" and RANK == 0:
        monitor.monitor.start = lambda *given, **named: 1 / 0
    if scenario == "unattached":
        trainer.add_callback(monitor)
    elif not scenario.startswith("bare") and (scenario != "rank 0 alone" or RANK == 0):
        monitor.attach(trainer)
    trainer.train()
    whole = {
        name: tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        for name, tensor in trainer.model.state_dict().items()
    }
    if RANK == 0:
        torch.save(whole, folder / "end.pt")
    return {
        "weights": weights(whole),
        "losses": tiny_hf.logged(trainer, "loss"),
        "random": randomness(),
    }


def main() -> None:
    for scenario in sys.argv[2:]:
        folder = Path(sys.argv[1]) / scenario
        folder.mkdir(parents=True, exist_ok=True)
        if scenario == "rank 0 alone":
            # The last one: afterwards the ranks count their monitors differently.
            agreement.JOIN_TIMEOUT_S = 0.5
            gather.do_all_ranks_join = lambda name, timeout_s: do_all_ranks_join(name, 0.5)
        said = logging.FileHandler(folder / f"said{RANK}")
        logging.getLogger("pretrain_monitor").addHandler(said)
        seen = train(folder, scenario)
        logging.getLogger("pretrain_monitor").removeHandler(said)
        (folder / f"rank{RANK}.json").write_text(json.dumps(seen))
    # The process group of a finished trainer may abort the process on its way out.
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
