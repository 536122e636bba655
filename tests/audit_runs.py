"""Runs with known truth, watched by the real monitor, for the tests of the audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from pretrain_monitor import Monitor
from pretrain_monitor.probes.attempt import Attempt
from pretrain_monitor.probes.averages import domain_metrics
from pretrain_monitor.probes.base import ProbeResult, Scores
from pretrain_monitor.probes.findings import Findings

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}

Rounds = Iterable[tuple[int, Mapping[str, Scores]]]


def watched(
    path: Path,
    run: Mapping[str, np.ndarray],
    rounds: Rounds = (),
    *,
    more: Mapping[int, Mapping[str, float]] | None = None,
    max_grad_norm: float | None = None,
    reason: str | None = "finished",
    tokens_per_step: int = 1000,
) -> Path:
    """A run directory as a training leaves it.

    Args:
        run: signals by name, one value a step, from step 1 on.
        rounds: of held-out texts, told after their step.
        more: further metrics of probes by step.
        reason: why it ended; None: it was killed.
    """
    from curves import samples

    monitor = Monitor(path, QUIET)
    monitor.max_grad_norm = max_grad_norm
    monitor.start()
    findings = Findings(monitor)
    told: dict[int, list[Attempt]] = {}
    for step, scores in rounds:
        metrics = {name: value for domain, one in scores.items() for name, value in domain_metrics(domain, one).items()}
        told.setdefault(step, []).append(Attempt("heldout", ProbeResult(metrics, scores=dict(scores)), None, 0.1))
    for step, metrics in (more or {}).items():
        told.setdefault(step, []).append(Attempt("more", ProbeResult(dict(metrics)), None, 0.1))
    if 0 in told:
        findings.tell(0, "start", told[0], 0)
    for sample in samples(run):
        tokens = sample.step * tokens_per_step
        monitor.observe(type(sample)(sample.step, sample.metrics, tokens, 1.7e9 + sample.step))
        if sample.step in told:
            findings.tell(sample.step, "regular", told[sample.step], tokens)
    if reason is not None:
        monitor.finish(reason)
    else:
        assert monitor._log is not None
        monitor._log.close()  # what kill -9 leaves
    return path


def table(path: Path, run: Mapping[str, np.ndarray], *, first_step: int = 1) -> Path:
    """The same signals as somebody else's CSV log."""
    names = list(run)
    lines = [",".join(["step", *names])]
    for at, row in enumerate(zip(*(run[name].tolist() for name in names), strict=True)):
        lines.append(",".join([str(first_step + at), *(repr(value) for value in row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
