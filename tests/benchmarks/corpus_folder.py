"""A folder of the corpus' form with curves of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_corpus(folder: Path, curves: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]]) -> Path:
    """Curves by id: text of the CSV file and labels, both as in the real one."""
    (folder / "curves").mkdir(parents=True)
    for name, (text, _) in curves.items():
        (folder / "curves" / f"{name}.csv").write_text(text, encoding="utf-8")
    index = [{"id": name, "repository": f"someone/{name.split('_')[0]}"} for name in curves]
    labels = [{"id": name, "events": events} for name, (_, events) in curves.items()]
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    return folder


def label(start: int, end: int, should_alert: bool | str = True, **changes: Any) -> dict[str, Any]:
    fields = {"kind": "spike", "cause": "instability", "start_step": start, "end_step": end}
    return {**fields, "should_alert": should_alert, **changes}


def losses(rows: int, first_step: int = 1, every: int = 1) -> str:
    return "step,loss\n" + "".join(f"{first_step + k * every},{3 - k * 1e-4:.4f}\n" for k in range(rows))
