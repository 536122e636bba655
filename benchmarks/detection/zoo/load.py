"""The stored zoo as curves of the benchmark, each with what is true of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..curves import Curve, Floats
from .cases import CASES, Case
from .storage import STORED, Telemetry, path_of, read_telemetry
from .truth import judge, planned_changes

_LOGGING_INTERVAL = 10


def load_zoo(folder: Path = STORED) -> list[Curve]:
    """Every run, the healthy twins among them, and the long healthy runs as logged every tenth step, too.

    Raises:
        FileNotFoundError: a run is not stored; ``python -m benchmarks.detection.zoo`` trains what is missing.
    """
    stored = {name: read_telemetry(path_of(name, folder)) for name in CASES}
    curves = []
    for name, case in CASES.items():
        curve = _curve(case, stored[name], stored[case.twin] if case.twin else None)
        curves.append(curve)
        if case.cause == "long":
            curves += [mean_of_ten(curve), every_tenth(curve)]
    return curves


def mean_of_ten(curve: Curve) -> Curve:
    """A healthy curve as a trainer logs it that averages over its logging interval."""

    def mean(values: Floats) -> Floats:
        result: Floats = values[: _whole(curve)].reshape(-1, _LOGGING_INTERVAL).mean(1)
        return result

    return _thinned(
        curve, "mean_of_ten", mean(curve.loss), {name: mean(values) for name, values in curve.others.items()}
    )


def every_tenth(curve: Curve) -> Curve:
    """A healthy curve as a trainer logs it that reports the last step of its logging interval."""

    def last(values: Floats) -> Floats:
        return values[_LOGGING_INTERVAL - 1 :: _LOGGING_INTERVAL]

    return _thinned(
        curve, "every_tenth", last(curve.loss), {name: last(values) for name, values in curve.others.items()}
    )


def _thinned(curve: Curve, suffix: str, loss: Floats, others: dict[str, Floats]) -> Curve:
    if curve.events:
        raise ValueError(f"{curve.name} has events, and their rows would be wrong in a thinned curve")
    steps = curve.steps[: _whole(curve)][_LOGGING_INTERVAL - 1 :: _LOGGING_INTERVAL]
    return Curve(f"{curve.name}-{suffix}", suffix, steps, loss, others)


def _whole(curve: Curve) -> int:
    return curve.rows // _LOGGING_INTERVAL * _LOGGING_INTERVAL


def _curve(case: Case, run: Telemetry, twin: Telemetry | None) -> Curve:
    others = {name: values for name, values in run.columns.items() if name != "loss"}
    loss = run.columns["loss"]
    if twin is None:
        events = planned_changes(case.recipe, run.steps)
    else:
        assert case.fault_step is not None
        _check_twin(case, run, twin)
        events = judge(run.steps, loss, twin.columns["loss"], case.fault_step, case.fault_last, case.cause)
    return Curve(case.name, case.cause, run.steps, loss, others, events)


def _check_twin(case: Case, run: Telemetry, twin: Telemetry) -> None:
    """Before the fault nothing may differ: otherwise one of the two comes from another machine or recipe."""
    assert case.fault_step is not None
    before = case.fault_step - 1
    if not np.array_equal(run.columns["loss"][:before], twin.columns["loss"][:before]):
        raise ValueError(
            f"{case.name} and its healthy twin {case.twin} differ before the fault at step {case.fault_step}: "
            "train both again on one machine, with --again"
        )
