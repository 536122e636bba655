"""`pretrain-monitor replay` of 100,000 steps x 3 signals through the command line, start included.

python benchmarks/replay.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS = 100_000
LIMIT_S = 12.0


def write_log(path: Path) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(1, STEPS + 1)
    loss = (2 + 4 * (t + 20.0) ** -0.35) * np.exp(0.02 * rng.standard_normal(STEPS))
    grad_norm = 0.5 * np.exp(0.15 * rng.standard_normal(STEPS))
    rate = 3e-4 * np.minimum(t / 2000, 1.0)
    with path.open("w", encoding="utf-8") as file:
        file.write("step,loss,grad_norm,learning_rate\n")
        file.writelines(
            f"{step},{a:.5f},{b:.4f},{c:.3e}\n" for step, a, b, c in zip(t, loss, grad_norm, rate, strict=True)
        )


def main(argv: list[str] | None = None) -> None:
    command = Path(sys.executable).parent / "pretrain-monitor"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        write_log(log)
        took = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([command, "replay", log, "--format", "jsonl"], check=True, stdout=subprocess.DEVNULL)
            took.append(time.perf_counter() - began)
    print(f"replay of {STEPS:,} steps x 3 signals: {sorted(took)[1]:.1f} s (median of 3), limit {LIMIT_S:g} s")


if __name__ == "__main__":
    main()
