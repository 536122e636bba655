"""Runs with known trouble, watched by a real monitor that draws in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from curves import healthy_run, samples

from pretrain_monitor import ListSink, Monitor, Sample

QUIET = {"console": {"enabled": False}}


def troubled_run(
    n: int, *, seed: int, spikes: Mapping[int, float], nan_at: int | None = None, bad_batch_at: int | None = None
) -> Iterator[Sample]:
    """A healthy run with spikes of 30 steps that decay and the gradient norm with them; maybe a NaN and a bad batch.

    Args:
        spikes: first step -> height of the loss over the healthy one, in nats.
    """
    run = healthy_run(n, seed=seed)
    for first, height in spikes.items():
        decay = np.exp(-np.arange(30) / 8.0)[: n - first + 1]
        run["loss"][first - 1 : first + 29] += height * decay
        run["grad_norm"][first - 1 : first + 29] *= 1 + 8 * decay
    if nan_at is not None:
        run["loss"][nan_at - 1] = np.nan
    if bad_batch_at is not None:
        run["loss"][bad_batch_at - 1] *= 1.3
    return samples(run)


def watch(stream: Iterator[Sample], run_dir: Path | None, *, step: int = 0, summary_writer: Any = None) -> ListSink:
    """Feed a stream to a monitor that resumes at ``step``; what a sink beside TensorBoard was given."""
    sink = ListSink()
    monitor = Monitor(run_dir, QUIET, sinks=[sink])
    monitor.start(step, summary_writer=summary_writer)
    for sample in stream:
        if sample.step > step:
            monitor.observe(sample)
    monitor.finish()
    return sink
