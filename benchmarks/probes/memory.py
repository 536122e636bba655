"""Peak memory of a probe and of the bare forward pass on the same batches, each in a process of its own.

    python -m benchmarks.probes.memory MODEL bare|probe|module

prints one number, the bytes by which resident memory rose above that of the loaded model.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pretrain_monitor.probes.perplexity import PerplexityProbe

from .figures import Figure
from .model import bare
from .speed import bare_forward

BATCH_TOKENS = 4096
BATCHES = 2  # the second finds the memory of the first in pieces
TIMES_FORWARD = 2.0
_ROOT = Path(__file__).resolve().parents[2]
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def is_measurable() -> bool:
    """On Linux. A process's ru_maxrss would do elsewhere, but it holds the loading of the model as well."""
    return _FORGET.exists()


def increase(job: Callable[[], object]) -> int:
    """Bytes by which the resident memory of this process was ever above where it is now, while a job ran."""
    _FORGET.write_text("5", encoding="ascii")  # makes the present size the highest so far
    before = _of_status("VmRSS")
    job()
    return _of_status("VmHWM") - before


def _of_status(name: str) -> int:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def job_of(how: str, model: Any) -> Callable[[], object]:
    """What is measured.

    Args:
        how: ``bare``: the forward pass; ``probe``: the probe, which asks the model's head by itself; ``module``: the
            probe where the model is a plain function that returns logits.
    """
    context = min(2048, int(model.config.max_position_embeddings))
    rows = BATCHES * BATCH_TOKENS // context
    # Counted up: what the tokens are does not matter, and nobody has to read a text.
    ids = (torch.arange(rows * (context + 1)) % int(model.config.vocab_size)).reshape(rows, context + 1)
    if how == "bare":
        batches = ids[:, :-1].split(max(1, BATCH_TOKENS // context))
        return lambda: bare_forward(model, batches)
    forward = (lambda model, ids: model(input_ids=ids, use_cache=False).logits) if how == "module" else None
    domains = {"counted": ids}
    probe = PerplexityProbe(domains, context_length=context, batch_tokens=BATCH_TOKENS, forward=forward)
    return lambda: probe(model)


def measured(path: Path, how: str) -> int:
    """``increase`` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.probes.memory", str(path), how, str(torch.get_num_threads())]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring memory failed: {done.stderr.strip()[-500:]}")
    return int(done.stdout.split()[-1])


def of_perplexity(path: Path) -> list[Figure]:
    used = {how: measured(path, how) for how in ("bare", "probe", "module")}
    names = {"probe": "the head by itself", "module": "a module that returns logits"}
    return [
        Figure(
            f"peak memory above the loaded model, {name}: MB",
            f"{used[how] / 1e6:.0f}",
            f"{used['bare'] / 1e6:.0f} (bare forward)",
            f"{used[how] / used['bare']:.2f} of it, batches of {BATCH_TOKENS:,} tokens",
            f"<= {TIMES_FORWARD:g}",
            used[how] <= TIMES_FORWARD * used["bare"],
        )
        for how, name in names.items()
    ]


def main(path: str, how: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    model = bare(Path(path))
    # Pools of threads and buffers of the kernels are there from the first forward pass on.
    bare_forward(model, [torch.zeros(1, 8, dtype=torch.int64)])
    print(increase(job_of(how, model)))


if __name__ == "__main__":
    main(*sys.argv[1:])
