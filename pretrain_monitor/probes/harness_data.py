"""Reads the data files that a task in the style of lm-evaluation-harness names."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .base import ProbeError
from .question_files import json_lines

Doc = Mapping[str, Any]

_FORMATS = ("json", "csv", "parquet")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # written as Python would write them: their text stays the same


def read_docs(path: Path, settings: Mapping[str, Any]) -> list[Doc]:
    """The records of the split that is asked: test if the task names it, else validation, else training.

    Args:
        path: of the task; its data files are named from its folder.
        settings: of the task.

    Raises:
        ProbeError: the data are not on this machine, cannot be read, or are none.
    """
    format, files = _files(f"task {path}", settings)
    docs: list[Doc] = []
    for file in files:
        found = _read(path.parent / file, format)
        if not all(isinstance(doc, dict) for doc in found):
            raise ProbeError(f"{path.parent / file} is not a list of records with named fields")
        docs += found
    if not docs:
        raise ProbeError(f"task {path}: its data file has no questions")
    return docs


def _files(where: str, settings: Mapping[str, Any]) -> tuple[str, list[str]]:
    given = settings.get("data")
    format = settings.get("dataset_path")
    if given is None:
        if format not in _FORMATS:
            raise ProbeError(
                f"{where}: dataset_path {format} would be downloaded, which is not done; save the data and give data: "
                f"FILE, or dataset_path: {' or '.join(_FORMATS)} with dataset_kwargs: {{data_files: FILE}}"
            )
        arguments = settings.get("dataset_kwargs") or {}
        if not isinstance(arguments, dict) or set(arguments) != {"data_files"}:
            raise ProbeError(f"{where}: dataset_kwargs must hold data_files and nothing else")
        given = arguments["data_files"]
    if isinstance(given, dict):
        split = settings.get("test_split") or settings.get("validation_split") or settings.get("training_split")
        split = split or next(iter(given), None)
        if split not in given:
            raise ProbeError(f"{where}: no data file for the split {split}; there are {', '.join(map(str, given))}")
        given = given[split]
    elif isinstance(split := settings.get("test_split") or settings.get("validation_split"), str) and "[" in split:
        raise ProbeError(f"{where}: the split {split} is a part of the data; save that part, and name its file")
    files = [given] if isinstance(given, str) else given
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        raise ProbeError(f"{where}: data files are given as a path, a list of paths, or a path for each split")
    if settings.get("data") is not None:
        format = next((known for known in _FORMATS if files[0].endswith(f".{known}")), "json")
    return str(format), files


def _read(path: Path, format: str) -> list[Any]:
    try:
        if format == "parquet":
            return list(import_module("pyarrow.parquet").read_table(path).to_pylist())
        if format == "csv":
            return _read_csv(path)
        if path.suffix == ".json":
            whole = json.loads(path.read_text(encoding="utf-8-sig"))
            if isinstance(whole, list):
                return whole
    except ImportError as problem:
        raise ProbeError(f"{path} needs pyarrow: pip install pyarrow") from problem
    except json.JSONDecodeError:
        pass  # one record a line, whatever the file is called
    except ProbeError:
        raise
    except (OSError, ValueError, RecursionError, csv.Error) as problem:
        raise ProbeError(
            f"{path} cannot be read as {format}: {getattr(problem, 'strerror', '') or problem}"
        ) from problem
    return [doc for _, doc in json_lines(path)]


def _read_csv(path: Path) -> list[Any]:
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        rows: list[dict[str, Any]] = list(reader)
    names = list(reader.fieldnames or ())
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ProbeError(f"{path} has two columns named {twice!r}; rename one")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ProbeError(f"{path} record {number} has not as many fields as the heading names")
    for name in names:
        # As elsewhere that such a file is read: a column of numbers holds numbers, which may be those of choices.
        if all(_INTEGER.fullmatch(row[name]) for row in rows):
            for row in rows:
                row[name] = int(row[name])
    return rows
