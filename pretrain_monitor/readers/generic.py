"""CSV and JSON lines with a step, a loss and whatever else was logged."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..telemetry import Sample

# The field's spellings of a name; the first is ours.
ALIASES = {
    "step": ("step", "global_step", "iteration", "iter", "train/global_step", "trainer/global_step"),
    "loss": ("loss", "train_loss", "train/loss", "lm_loss", "training_loss"),
    "grad_norm": ("grad_norm", "train/grad_norm", "gradient_norm", "grad-norm", "total_grad_norm"),
    "learning_rate": ("learning_rate", "lr", "train/learning_rate", "train/lr"),
    "tokens_seen": ("tokens_seen", "num_input_tokens_seen", "tokens"),
    "time": ("time", "timestamp"),
}
_OURS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


class LogError(ValueError):
    """A log that cannot be read; the message is one line for the user."""


def first_text_line(path: Path) -> str:
    """First non-empty line of a text file.

    Raises:
        LogError: no such file, a directory, not readable, empty, not UTF-8, binary.
    """
    for line in _text_lines(path):
        if line.strip():
            return line.strip()
    raise LogError(f"{path}: the log is empty")


def read_csv(path: Path) -> Iterator[Sample]:
    """Rows of a CSV file with a header that names step and loss; empty cells are values that were not logged."""
    lines = (line for line in _text_lines(path) if line.strip())
    try:
        header = next(csv.reader([next(lines)]))
    except csv.Error as error:
        raise LogError(f"{path}: not a CSV file: {error}") from None
    names = [_OURS.get(cell.strip(), cell.strip()) for cell in header]
    _check_columns(path, names, "the header")
    return _samples(path, _csv_rows(path, names, lines))


def _csv_rows(path: Path, names: list[str], lines: Iterator[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for number, row in enumerate(csv.reader(lines), start=2):
            yield number, dict(zip(names, row, strict=False))
    except csv.Error as error:
        raise LogError(f"{path}: not a CSV file: {error}") from None


def read_jsonl(path: Path) -> Iterator[Sample]:
    """JSON objects, one a line, with a step and a loss at the top level or, as we write them, under ``metrics``."""
    rows = _json_rows(path)
    # Lines without a loss are legal (evaluations); a file without any is not.
    head = []
    for number, row in rows:
        head.append((number, row))
        if "loss" in row or len(head) == 1000:
            break
    _check_columns(path, {name for _, row in head for name in row}, "the first lines")
    return _samples(path, chain(head, rows))


def _check_columns(path: Path, names: Iterable[str], where: str) -> None:
    names = list(names)
    for needed in ("step", "loss"):
        if needed not in names:
            shown = ", ".join(repr(name) for name in names[:8]) or "nothing"
            raise LogError(
                f"{path}: no {needed} column; {where} has {shown}; call it one of {', '.join(ALIASES[needed])}"
            )


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise LogError(f"{path}: line {number} is not JSON: {line.strip()[:60]!r}") from None
        if not isinstance(record, dict):
            raise LogError(f"{path}: line {number} is not a JSON object: {line.strip()[:60]!r}")
        metrics = record.pop("metrics", None)
        flat = {**record, **metrics} if isinstance(metrics, Mapping) else record
        yield number, {_OURS.get(name, name): value for name, value in flat.items()}


def _samples(path: Path, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[Sample]:
    """Rows -> samples; rows of one step are joined, since some loggers write one line per signal."""
    step: int | None = None
    held: dict[str, float] = {}
    filler = _FillerNaN()
    for number, row in rows:
        here = _step(path, number, row.get("step"))
        if here is None:
            continue
        if step is not None and here < step:
            raise LogError(
                f"{path}: steps go backwards at line {number}: {here} after {step}; "
                "a log holds one run with rising steps, so split it there"
            )
        if here != step and held and step is not None:
            yield _sample(step, held)
            held = {}
        step = here
        held.update(filler.drop(_numbers(path, number, row)))
    if held and step is not None:
        yield _sample(step, held)


def _sample(step: int, values: dict[str, float]) -> Sample:
    tokens, time = values.pop("tokens_seen", None), values.pop("time", None)
    return Sample(step, values, int(tokens) if tokens is not None and math.isfinite(tokens) else None, time)


def _step(path: Path, number: int, value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        as_float = float(value)
        step = int(as_float)
    except (TypeError, ValueError, OverflowError):
        raise LogError(f"{path}: line {number}: step {value!r} is not a whole number") from None
    if step != as_float or abs(step) >= 2**62:
        raise LogError(f"{path}: line {number}: step {value!r} is not a whole number")
    return step


def _numbers(path: Path, number: int, row: Mapping[str, Any]) -> dict[str, float]:
    """The numeric cells of a row. Text in a signal's own column is an error, in any other it is passed over."""
    values = {}
    for name, value in row.items():
        if name == "step" or value is None or value == "" or isinstance(value, bool):
            continue
        try:
            values[name] = float(value)
        except (TypeError, ValueError, OverflowError):
            if name in ("loss", "grad_norm", "learning_rate"):
                raise LogError(f"{path}: line {number}: {name} {value!r} is not a number") from None
    return values


class _FillerNaN:
    """Tells NaN as "not recorded" from a NaN that happened, in every column but the loss.

    Some loggers write NaN where a signal was not measured at a step. A gradient norm that became NaN stays NaN or
    comes back once; one that was NaN before it was ever finite was never measured there.
    """

    def __init__(self) -> None:
        self._was_finite: set[str] = set()

    def drop(self, values: dict[str, float]) -> dict[str, float]:
        kept = {}
        for name, value in values.items():
            if math.isnan(value) and name != "loss" and name not in self._was_finite:
                continue
            if math.isfinite(value):
                self._was_finite.add(name)
            kept[name] = value
        return kept


def _text_lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if b"\0" in raw:
                    raise LogError(f"{path}: a binary file, not a CSV or JSONL log")
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise LogError(f"{path}: line {number} is not UTF-8 text") from None
                yield line
    except FileNotFoundError:
        raise LogError(f"{path}: no such file or directory") from None
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror}") from None
