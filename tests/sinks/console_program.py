"""A run with one spike that is told on the console while a progress bar, a logger and print() are at work.

Arguments: the bar (none, tqdm, rich, other_rich), and the run directory.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from curves import healthy_run, samples

from pretrain_monitor import Monitor

STEPS, SPIKE = 400, 300


def bar(kind: str, steps: Any) -> Any:
    if kind == "tqdm":
        from tqdm.auto import tqdm

        return tqdm(steps, total=STEPS, mininterval=0.01)
    if kind == "none":
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, total=STEPS, console=Console() if kind == "other_rich" else None)


def main(kind: str, run_dir: str) -> None:
    logging.basicConfig(level=logging.INFO)
    run = healthy_run(STEPS, seed=0)
    run["loss"][SPIKE - 1 : SPIKE + 4] += 1.0
    run["grad_norm"][SPIKE - 1 : SPIKE + 4] *= 9
    monitor = Monitor(run_dir, {"tensorboard": {"enabled": False}})
    monitor.start()
    for sample in bar(kind, samples(run)):
        monitor.observe(sample)
        if sample.step > SPIKE - 20:
            time.sleep(0.005)
    monitor.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
