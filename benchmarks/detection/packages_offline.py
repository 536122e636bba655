"""Rivals that read a finished log, each called through its own package with its default settings.

Every function takes the imported module that ``packages.py`` names for it, and a curve.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from .curves import Curve, Finding


def trainspotter(errors_only: bool, detectors: Any, curve: Curve) -> list[Finding]:
    """Its detectors of spikes, divergence and gradient norm, told at the peak or, without one, the start."""
    run = importlib.import_module("trainspotter.model").Run()
    row_of = {step: row for row, step in reversed(list(enumerate(curve.steps.tolist())))}
    for metric, values in {"train/loss": curve.loss, "grad_norm": curve.others.get("grad_norm")}.items():
        for step, value in zip(curve.steps.tolist(), [] if values is None else values.tolist(), strict=False):
            run.add_point(metric, step, value)
    run.finalize()
    chosen = [
        detectors.spikes.SpikeDetector(),
        detectors.divergence.DivergenceDetector(),
        detectors.grad_norm.GradNormDetector(),
    ]
    found = []
    for finding in detectors.run_all(run, chosen):
        if finding.severity == "error" or (finding.severity == "warning" and not errors_only):
            peak = row_of[int(finding.evidence.get("peak_step", finding.step_start))]
            kind = {"spikes": "spike", "grad_norm": "grad_spike"}.get(finding.detector)
            if kind is None:
                kind = "nonfinite" if "first_bad_step" in finding.evidence else "divergence"
            found.append(Finding(peak, onset=row_of[finding.step_start], kind=kind))
    return sorted(found, key=lambda finding: finding.row)


def losslint(checks: Any, curve: Curve) -> list[Finding]:
    """Its checks for spikes and for values that are not finite; a finding names five rows at most."""
    parsing = importlib.import_module("losslint.parsing")
    norms = {"grad_norm": curve.others["grad_norm"].tolist()} if "grad_norm" in curve.others else {}
    run = parsing.RunLog(
        steps=list(range(curve.rows)), series={"loss": curve.loss.tolist(), **norms}, source=Path("log")
    )
    kinds: dict[int, str] = {}
    for check, kind in ((checks.check_loss_spike, "spike"), (checks.check_nan_inf, "nonfinite")):
        for finding in check(run):
            kinds.update(dict.fromkeys(finding.details["steps"], kind))
    return [Finding(row, kind=kinds[row]) for row in sorted(kinds)]


def runmedic(checks: Any, curve: Curve) -> list[Finding]:
    """Its checks for non-finite values, divergence, loss and gradient spikes; a finding names ten spikes at most.

    Its findings of severity info are no alerts.
    """
    run = importlib.import_module("runmedic.model").Run("run", "csv", "log")
    roles = {"train_loss": ["loss"]}
    signals = {"loss": curve.loss} | {k: v for k, v in curve.others.items() if k in ("grad_norm", "learning_rate")}
    for name, values in signals.items():
        for row, value in enumerate(values.tolist()):
            run.get(name).add(row, value)
    if "grad_norm" in signals:
        roles["grad_norm"] = ["grad_norm"]
    if "learning_rate" in signals:
        roles["lr"] = ["learning_rate"]
    run.finalize()
    context = checks.Ctx(run, roles)
    found = []
    for check, kind in (
        (checks.check_non_finite, "nonfinite"),
        (checks.check_divergence, "divergence"),
        (checks.check_spikes, "spike"),
        (checks.check_grad_explosion, "grad_spike"),
    ):
        for finding in check(context):
            told = [int(row) for line in finding.evidence for row in _listed_after("spike steps: ", line)]
            rows = told or [int(finding.step)]
            found += [Finding(row, kind=kind, is_alert=finding.severity != "info") for row in rows]
    return sorted(found, key=lambda finding: finding.row)


def _listed_after(words: str, line: str) -> list[str]:
    return re.findall(r"\d+", line.removeprefix(words)) if line.startswith(words) else []


def gradsnitch(module: Any, curve: Curve) -> list[Finding]:
    """Its rules on gradient spikes, divergence and values that are not finite; each tells one row, in its evidence."""
    pandas = importlib.import_module("pandas")
    columns: dict[str, Any] = {"step": np.arange(curve.rows), "train_loss": curve.loss}
    if "grad_norm" in curve.others:
        columns["grad_norm"] = curve.others["grad_norm"]
    frame = pandas.DataFrame(columns)
    found = []
    for rule, kind in (
        (module.detect_nonfinite_loss, "nonfinite"),
        (module.detect_nonfinite_grad, "nonfinite"),
        (module.detect_loss_divergence, "divergence"),
        (module.detect_grad_spike, "grad_spike"),
    ):
        finding = rule(frame)
        if finding is not None:
            found.append(Finding(int(re.findall(r"step (\d+)", finding.evidence)[0]), kind=kind))
    return sorted(found, key=lambda finding: finding.row)
