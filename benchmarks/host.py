"""What one step costs the training thread, with run log, TensorBoard and terminal on and the detector warmed up.

Between two steps a small GPT is really trained: that leaves the caches cold, which a tight loop would not, and then the
same code takes three times as long.

    python benchmarks/host.py
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time

import torch

from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.demo.model import GPT, VOCABULARY

WARM_STEPS = 700  # past the warm-up of the charts
STEPS = 300
LIMIT_US = 300


def main(argv: list[str] | None = None) -> None:
    torch.manual_seed(0)
    model = GPT(layers=4, width=128, heads=4, context=128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    tokens = torch.randint(0, VOCABULARY, (8, 128))
    noise = torch.randn(WARM_STEPS + STEPS, 2)
    took = []
    with tempfile.TemporaryDirectory() as folder, LoopMonitor(folder, {"console": {"summary": False}}) as monitor:
        for step in range(WARM_STEPS + STEPS):
            if step >= WARM_STEPS:
                model(input_ids=tokens, labels=tokens)["loss"].backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            loss = torch.tensor(3.0) * (0.02 * noise[step, 0]).exp()
            norm = torch.tensor(0.5) * (0.1 * noise[step, 1]).exp()
            began = time.perf_counter()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=tokens.numel())
            took.append((time.perf_counter() - began) * 1e6)
    tight, real = took[WARM_STEPS // 2 : WARM_STEPS], took[WARM_STEPS:]
    ninetieth = statistics.quantiles(real, n=10)[-1]
    print(
        f"host cost per step, log and TensorBoard on: median {statistics.median(real):.0f} us, "
        f"mean {math.fsum(real) / STEPS:.0f} us, nine of ten below {ninetieth:.0f} us between real training steps; "
        f"median {statistics.median(tight):.0f} us in a tight loop; limit {LIMIT_US} us"
    )


if __name__ == "__main__":
    main()
