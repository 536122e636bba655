"""Runs by formula as run directories, through the same monitor that watches a training."""

from __future__ import annotations

from pathlib import Path

from pretrain_monitor import Monitor, Sample
from pretrain_monitor.probes.attempt import Attempt
from pretrain_monitor.probes.base import ProbeResult
from pretrain_monitor.probes.findings import Findings

from .probed import Probed, rounds_of
from .shapes import Training

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
_BEGAN = 1.7e9


def write_run(path: Path, run: Training, probed: Probed | None, seed: int) -> Path:
    """A directory as a monitored training leaves it."""
    rounds = {} if probed is None else {step: rest for step, *rest in rounds_of(run, probed, seed)}
    monitor = Monitor(path, QUIET)
    monitor.max_grad_norm = run.max_grad_norm
    monitor.start()
    findings = Findings(monitor)
    signals = {name: getattr(run, name).tolist() for name in run.logged}
    for step in range(1, run.steps + 1):
        if step - 1 in run.sessions:
            monitor.finish("interrupted")
            monitor.start(step - 1)
        if step % run.every == 0:
            values = {name: values[step - 1] for name, values in signals.items()}
            monitor.observe(Sample(step, values, step * run.tokens_per_step, _BEGAN + step))
        if step in rounds:
            scores, metrics = rounds[step]
            result = ProbeResult(metrics, scores=scores)
            findings.tell(step, "regular", [Attempt("probes", result, None, 1.0)], step * run.tokens_per_step)
    if run.end is None:
        kill(monitor)
    else:
        monitor.finish(run.end)
    return path


def kill(monitor: Monitor) -> None:
    """Leave the log as a process does that is killed."""
    log = monitor._log
    if log is not None:
        log.close()
