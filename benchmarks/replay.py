"""`pretrain-monitor replay` of 100,000 steps x 3 signals through the command line, start included.

python benchmarks/replay.py [--million]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS, LIMIT_S, RUNS = 100_000, 12.0, 3
MILLION_LIMIT_S = 60.0


def write_log(path: Path, steps: int) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(1, steps + 1)
    loss = (2 + 4 * (t + 20.0) ** -0.35) * np.exp(0.02 * rng.standard_normal(steps))
    grad_norm = 0.5 * np.exp(0.15 * rng.standard_normal(steps))
    rate = 3e-4 * np.minimum(t / 2000, 1.0)
    with path.open("w", encoding="utf-8") as file:
        file.write("step,loss,grad_norm,learning_rate\n")
        file.writelines(
            f"{step},{a:.5f},{b:.4f},{c:.3e}\n" for step, a, b, c in zip(t, loss, grad_norm, rate, strict=True)
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", action="store_true", help="a million steps, once")
    is_million = parser.parse_args(argv).million
    steps, limit_s, runs = (1_000_000, MILLION_LIMIT_S, 1) if is_million else (STEPS, LIMIT_S, RUNS)
    command = Path(sys.executable).parent / "pretrain-monitor"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        write_log(log, steps)
        took = []
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run([command, "replay", log, "--format", "jsonl"], check=True, stdout=subprocess.DEVNULL)
            took.append(time.perf_counter() - began)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s, peak_mib = (used.ru_utime + used.ru_stime) / runs, used.ru_maxrss / 1024
    wall_s = sorted(took)[runs // 2]
    print(f"replay of {steps:,} steps x 3 signals: {wall_s:.1f} s (median of {runs}), limit {limit_s:g} s")
    print(f"processor time {cpu_s:.1f} s, at most {peak_mib:.0f} MiB")


if __name__ == "__main__":
    main()
