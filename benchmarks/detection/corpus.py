"""Real curves with hand-made labels: a folder of the corpus' form (index.json, labels.json, curves/*.csv) -> Curves.

The folder is not part of the project: third-party curves are read where they lie and never copied.
"""

from __future__ import annotations

import csv
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .curves import Curve, Floats, TrueEvent, Verdict
from .errors import UsageError

DEFAULT_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "corpus"

_FEWEST_ROWS = 100
_ROWS_KEPT = 6000  # a curve is cut here, or this far behind its last event that must be found:
_ROWS_AFTER_LAST_EVENT = 600
_LEAST_COVER = 0.9  # share of the rows that need a value of a signal for the signal to be used
_EARLY_ROWS = 64  # events that start in here have a group of their own: most detectors are still warming up
_FURTHER_SIGNALS = ("grad_norm", "learning_rate")

_VERDICTS = {"true": Verdict.MUST, "optional": Verdict.OPTIONAL, "false": Verdict.HARMLESS}
_KINDS = {"level_shift_up": "level_shift", "level_shift_down": "level_shift", "nan": "nonfinite"}
_BATCH_CAUSES = ("bad_batch", "single_outlier")


def load_corpus(folder: Path = DEFAULT_FOLDER, *, whole: bool = False) -> list[Curve]:
    """All curves of a folder in the order of its index, with their labels as rows.

    Args:
        whole: do not cut long curves; for their noise, not for scores.

    Raises:
        UsageError: the folder, or one of its files, is missing or of another form.
    """
    index, labels = _read_list(folder / "index.json"), _read_list(folder / "labels.json")
    try:
        events = {entry["id"]: entry["events"] for entry in labels}
        curves = [_load_curve(folder, entry, events[entry["id"]], whole) for entry in index]
    except KeyError as missing:
        raise UsageError(f"index.json or labels.json in {folder} lacks {missing}: not a folder of curves") from missing
    return [curve for curve in curves if curve.rows >= _FEWEST_ROWS]


def family(curve: Curve) -> str:
    """Runs of one code base and data order, a finer grouping than the repository: pg_tf_ph1 -> pg_tf, mod_soap -> mod.

    Curves of the large family share a prefix; a repository's single runs are families of their own.
    """
    parts = curve.name.partition("#")[0].split("_")
    if parts[0] != "pg":
        return parts[0]
    return "_".join(parts[:2])


def _load_curve(folder: Path, entry: dict[str, Any], labels: Sequence[dict[str, Any]], whole: bool) -> Curve:
    rows = _read_rows(folder / "curves" / f"{entry['id']}.csv")
    steps = [int(row["step"]) for row in rows]
    last_must = max((bisect_left(steps, e["start_step"]) for e in labels if e["should_alert"] is True), default=0)
    if not whole:
        rows = rows[: max(_ROWS_KEPT, last_must + _ROWS_AFTER_LAST_EVENT)]
    steps = steps[: len(rows)]
    others = {
        signal: _carried([row[signal] for row in rows])
        for signal in _FURTHER_SIGNALS
        if sum(bool(row.get(signal)) for row in rows) >= _LEAST_COVER * len(rows)
    }
    return Curve(
        name=entry["id"],
        source=entry["repository"],
        steps=np.array(steps, dtype=np.int64),
        loss=np.array([float(row["loss"]) for row in rows]),
        others=others,
        events=tuple(_event(label, steps) for label in labels if label["start_step"] <= steps[-1]),
    )


def _event(label: dict[str, Any], steps: list[int]) -> TrueEvent:
    """An event that may start between two logged steps, as rows: the next logged one begins it."""
    newest = len(steps) - 1
    first = min(newest, bisect_left(steps, label["start_step"]))
    last = max(first, min(newest, bisect_right(steps, label["end_step"]) - 1))
    verdict = _VERDICTS[str(label["should_alert"]).lower()]
    kind = _KINDS.get(label["kind"], label["kind"])
    if kind == "spike" and label["cause"] in _BATCH_CAUSES:
        kind = "bad_batch"
    is_early = verdict is Verdict.MUST and first < _EARLY_ROWS
    group = f"early_{label['kind']}" if is_early else label["kind"] if kind != "bad_batch" else kind
    return TrueEvent(first, last, kind, verdict, group, float(label.get("z") or "nan"))


def _carried(cells: Sequence[str]) -> Floats:
    """Values with empty cells filled from the row before: a NaN in a curve is one that the run logged."""
    values: list[float] = []
    known = next(float(cell) for cell in cells if cell)
    for cell in cells:
        known = float(cell) if cell else known
        values.append(known)
    return np.array(values)


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row["loss"]]
    except OSError as error:
        raise UsageError(f"cannot read the curve {path}: {error.strerror}") from error


def _read_list(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path.parent} is no corpus: it needs index.json, labels.json and curves/; {path.name}: {error.strerror}"
        ) from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, list):
        raise UsageError(f"{path} should hold a list, it holds a {type(content).__name__}")
    return content
