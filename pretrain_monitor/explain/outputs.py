"""Files that a picture is written to, checked before a long log is read for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..printable import shown_path
from ..run_settings import CONFIG_NAME
from ..runlog import FILE_NAME
from .errors import ExplainError
from .story import Explanation


class Output(NamedTuple):
    """A file to be written."""

    path: Path
    write: Callable[[Explanation, Path], None]


def outputs(png: Path | None, html: Path | None, run: Path) -> list[Output]:
    """What was asked for.

    Args:
        run: the log, or its directory: nothing of it is written over, by whatever name.

    Raises:
        ExplainError: another suffix than that of the format, no place to write to, a package that is missing.
    """
    found = []
    if png is not None:
        _check("--png", png, (".png",), run)
        try:
            from .png import write_png
        except ModuleNotFoundError as error:
            raise _missing("--png", "matplotlib", error) from error
        found.append(Output(png, write_png))
    if html is not None:
        _check("--html", html, (".html", ".htm"), run)
        try:
            from .html import write_html
        except ModuleNotFoundError as error:
            raise _missing("--html", "plotly", error) from error
        found.append(Output(html, write_html))
    return found


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _missing(option: str, package: str, error: ModuleNotFoundError) -> Exception:
    if error.name is None or error.name.partition(".")[0] != package:
        return error
    return ExplainError(f"{option} needs {package}: pip install 'pretrain-monitor[report]'")


def _check(option: str, path: Path, suffixes: tuple[str, ...], run: Path) -> None:
    name = f"{option} {shown_path(path)}"
    if path.suffix.lower() not in suffixes:
        raise ExplainError(f"{name}: give a file that ends in {suffixes[0]}")
    try:
        if path.is_dir():
            raise ExplainError(f"{name}: a directory, not a file")
        if path.exists() and not path.is_file():
            raise ExplainError(f"{name}: no regular file; name one, or a file that is not there yet")
        if any(_is_same(path, file) for file in (run, run / FILE_NAME, run.with_name(CONFIG_NAME), run / CONFIG_NAME)):
            raise ExplainError(f"{name}: this is the log itself, or part of its run; name another file")
        if not path.parent.is_dir():
            raise ExplainError(f"{name}: the directory {shown_path(path.parent)} does not exist")
        is_writable = os.access(path if path.exists() else path.parent, os.W_OK)
    except (OSError, ValueError) as error:
        raise ExplainError(f"{name}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    if not is_writable:
        raise ExplainError(f"{name}: cannot be written: permission denied")
