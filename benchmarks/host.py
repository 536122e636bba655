"""What one step costs the training thread, with run log, TensorBoard and terminal on and the detector warmed up.

Between two steps a matrix product keeps the core busy for some milliseconds, as a training step would.

    python benchmarks/host.py
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time

import torch

from pretrain_monitor.callbacks.loop import LoopMonitor

WARM_STEPS = 700  # past the warm-up of the charts
STEPS = 1500
LIMIT_US = 300


def main(argv: list[str] | None = None) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(400, 400)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(4))], lr=1e-3)
    noise = torch.randn(WARM_STEPS + STEPS, 2)
    took = []
    with tempfile.TemporaryDirectory() as folder, LoopMonitor(folder, {"console": {"summary": False}}) as monitor:
        for step in range(WARM_STEPS + STEPS):
            matrix @ matrix
            loss = torch.tensor(3.0) * (0.02 * noise[step, 0]).exp()
            norm = torch.tensor(0.5) * (0.1 * noise[step, 1]).exp()
            began = time.perf_counter()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=4096)
            took.append((time.perf_counter() - began) * 1e6)
    took = took[WARM_STEPS:]
    ninetieth = statistics.quantiles(took, n=10)[-1]
    print(
        f"host cost per step, log and TensorBoard on: median {statistics.median(took):.0f} us, "
        f"mean {math.fsum(took) / STEPS:.0f} us, nine of ten below {ninetieth:.0f} us; limit {LIMIT_US} us"
    )


if __name__ == "__main__":
    main()
