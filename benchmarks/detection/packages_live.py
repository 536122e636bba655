"""Rivals that follow a run live, each called through its own package with its default settings, one row at a time.

Every function takes the imported module that ``packages.py`` names for it, and a curve.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .curves import Curve, Finding

_TRAINPULSE_KINDS = {
    "nan_detector": "nonfinite",
    "loss_spike": "spike",
    "gradient": "grad_spike",
    "learning_rate": "lr_anomaly",
    "plateau": "plateau",
}
_LLMREPORT_KINDS = {
    "loss_nan": "nonfinite",
    "grad_nan": "nonfinite",
    "loss_spike": "spike",
    "grad_spike": "grad_spike",
    "grad_vanish": "grad_spike",
    "plateau": "plateau",
}


def trainscope(name: str, kind: str, detectors: Any, curve: Curve) -> list[Finding]:
    """Its detector of that name. Its hook passes finite losses only; a NaN gets a line in the log and no alert."""
    detector = detectors.make_detector({"name": name})
    # Segmentation would run after an alert and alter its score only, at a hundred times the cost of the rule.
    changepoint = detectors.changepoint
    segmentation, changepoint.rpt = changepoint.rpt, None
    try:
        losses = enumerate(curve.loss.tolist())
        return [Finding(i, kind=kind) for i, x in losses if math.isfinite(x) and detector.update(x) is not None]
    finally:
        changepoint.rpt = segmentation


def llmreport(module: Any, curve: Curve) -> list[Finding]:
    """Its tracker without a model. What it calls info is no alert. Its cooldowns count the steps of the run."""
    found: list[Finding] = []
    row = 0

    def told(alert: dict[str, Any]) -> None:
        found.append(Finding(row, kind=_LLMREPORT_KINDS.get(alert["key"]), is_alert=alert["severity"] != "info"))

    silence = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(silence),
        contextlib.redirect_stderr(silence),
    ):
        tracker = module.Tracker(
            None, None, log_dir=folder, dashboard=False, print_every=0, notebook=False, on_alert=told
        )
        for row, (step, values) in enumerate(zip(curve.steps.tolist(), _rows_of(curve), strict=True)):  # noqa: B007 - for told
            tracker.step(values["loss"], step=step, lr=values.get("learning_rate"), grad_norm=values.get("grad_norm"))
        tracker.close()
    return found


def trainpulse(with_plateau: bool, module: Any, curve: Curve) -> list[Finding]:
    """Its monitor, with or without what its plateau detector says."""
    monitor = module.Monitor()
    found = []
    for row, values in enumerate(_rows_of(curve)):
        for signal, value in values.items():
            for alert in monitor.log(signal, row, value):
                if with_plateau or alert.detector != "plateau":
                    found.append(Finding(row, kind=_TRAINPULSE_KINDS[alert.detector]))
    return found


def stabilityguard(spike_detector: Any, curve: Curve) -> list[Finding]:
    """Its detector on one layer that has the norm of the whole model; silent without a gradient norm."""
    detector = spike_detector.SpikeDetector()
    found = []
    for row, norm in enumerate(_norms_of(curve)):
        bad: set[str] = set() if math.isfinite(norm) else {"all"}
        if detector.check({"all": norm}, bad)[0]:
            found.append(Finding(row, kind="nonfinite" if bad else "grad_spike"))
    return found


def zclip(module: Any, curve: Curve) -> list[Finding]:
    """The steps that it clips adaptively, as its ``step`` would; silent without a gradient norm."""
    clip = module.ZClip()
    found = []
    for row, norm in enumerate(_norms_of(curve)):
        if not clip.initialized:
            clip.buffer.append(norm)
            if len(clip.buffer) >= clip.warmup_steps:
                clip._initialize_ema()
            continue
        bound = clip._compute_clip_val(norm)
        if bound is not None:
            found.append(Finding(row, kind="grad_spike"))
        clip._update_ema(norm if bound is None else bound)
    return found


def lightning(spike: Any, curve: Curve) -> list[Finding]:
    """Its callback through one epoch on one rank, going on after what would raise its exception."""
    import torch

    detection = spike.SpikeDetection()
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of a NaN in the first batch, which is not judged
        for row, loss in enumerate(torch.from_numpy(curve.loss.astype(np.float32))):
            if row >= detection.warmup and detection._is_spike(loss):
                found.append(Finding(row, kind="spike" if bool(loss.isfinite()) else "nonfinite"))
            else:
                detection._update_stats(loss)
    return found


def lyapmon(module: Any, curve: Curve) -> list[Finding]:
    """Its monitor, a row for a cycle. An alert is a change to unstable, or a value that it refuses."""
    features = [name for name in ("loss", "grad_norm") if name == "loss" or name in curve.others]
    monitor = module.LyapunovMonitor(features=features)
    found = []
    was_unstable = False
    for row, values in enumerate(_rows_of(curve)):
        try:
            is_unstable = monitor.observe(values).unstable
        except ValueError:  # of a value that is not finite
            found.append(Finding(row, kind="nonfinite"))
            continue
        if is_unstable and not was_unstable:
            found.append(Finding(row, kind="drift"))
        was_unstable = is_unstable
    return found


def training_doctor(module: Any, curve: Curve) -> list[Finding]:
    """Its rules on a learning rate that is too high and on gradient instability: of its five those on trouble.

    Its cooldowns count the steps of the run. They read the last 500 values at most, but search all of them at every
    step: older ones are dropped.
    """
    too_high = importlib.import_module("training_doctor.detectors.learning_rate").LearningRateTooHighDetector
    unstable = importlib.import_module("training_doctor.detectors.instability").GradientInstabilityDetector
    doctor = module.Doctor(detectors=[too_high(), unstable()])
    found = []
    for row, (step, values) in enumerate(zip(curve.steps.tolist(), _rows_of(curve), strict=True)):
        found += [Finding(row) for _ in doctor.log(step, **values)]
        if row % 100 == 0:
            for points in doctor.store._data.values():
                del points[:-600]
    return found


def river(name: str, limit: float, drift: Any, curve: Curve) -> list[Finding]:
    """Page-Hinkley or ADWIN on the loss; see ``packages.River``."""
    detector = drift.ADWIN(delta=1 / limit) if name == "ADWIN" else drift.PageHinkley(threshold=limit)
    if name == "Page-Hinkley, up":
        detector = drift.PageHinkley(threshold=limit, mode="up")
    found = []
    for row, x in enumerate(curve.loss.tolist()):
        detector.update(x)
        if detector.drift_detected:
            found.append(Finding(row, kind="level_shift"))
    return found


def _rows_of(curve: Curve) -> Iterator[dict[str, float]]:
    """Loss, gradient norm and learning rate by name, row by row, as far as the curve has them."""
    names = ["loss", *(name for name in ("grad_norm", "learning_rate") if name in curve.others)]
    columns = [curve.loss, *(curve.others[name] for name in names[1:])]
    for values in zip(*(column.tolist() for column in columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _norms_of(curve: Curve) -> list[float]:
    norms: list[float] = curve.others["grad_norm"].tolist() if "grad_norm" in curve.others else []
    return norms
