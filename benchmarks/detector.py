"""What the detector costs alone: microseconds per step for 1 to 100 signals, and memory over a million steps.

python benchmarks/detector.py [--million]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc

import numpy as np

from pretrain_monitor import InstabilityDetector, Sample

SIGNALS = (1, 2, 10, 30, 100)
STEPS = 10_000
STRETCH = 1_000


def names(count: int) -> list[str]:
    return ["loss", "grad_norm", *(f"grad_norm/block{k}" for k in range(count))][:count]


def noise(rng: np.random.Generator, steps: int, signals: int) -> list[list[float]]:
    return np.exp(0.1 * rng.standard_normal((steps, signals))).tolist()


def microseconds_per_step(signals: int, *, repeats: int = 3) -> float:
    """Best stretch of some runs, after the warm-up of the detector: a busy machine can only make it slower."""
    best = float("inf")
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        columns = names(signals)
        rows = noise(rng, STEPS + STRETCH, signals)
        stream = [Sample(i, dict(zip(columns, row, strict=True))) for i, row in enumerate(rows)]
        detector = InstabilityDetector()
        for sample in stream[:STRETCH]:
            detector.update(sample)
        for start in range(STRETCH, len(stream), STRETCH):
            began = time.process_time()
            for sample in stream[start : start + STRETCH]:
                detector.update(sample)
            best = min(best, (time.process_time() - began) / STRETCH * 1e6)
    return best


def memory_growth(steps: int) -> tuple[float, int]:
    """Kilobytes gained between step 10,000 and ``steps``, and incidents finished in between."""
    rng = np.random.default_rng(0)
    columns = names(3)
    detector = InstabilityDetector()

    def feed(first: int, count: int) -> None:
        for start in range(first, first + count, 10_000):
            for i, row in enumerate(noise(rng, 10_000, 3)):
                detector.update(Sample(start + i, dict(zip(columns, row, strict=True))))

    feed(0, 10_000)
    tracemalloc.start()
    before, known = tracemalloc.get_traced_memory()[0], len(detector.incidents)
    feed(10_000, steps - 10_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown / 1024, len(detector.incidents) - known


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", action="store_true", help="memory over a million steps (some minutes)")
    arguments = parser.parse_args(argv)
    print("detector alone      us per step   limit")
    for signals in SIGNALS:
        print(f"{signals:4d} signals        {microseconds_per_step(signals):8.1f}      100")
    steps = 1_000_000 if arguments.million else 100_000
    grown, incidents = memory_growth(steps)
    print(f"memory gained from step 10,000 to {steps:,}: {grown:,.0f} kB, {incidents} finished incidents kept")


if __name__ == "__main__":
    main()
