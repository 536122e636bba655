"""Files that a picture is written to, checked before a long log is read for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..output_files import OutputError, check_output
from ..run_settings import CONFIG_NAME
from ..rundir import FILE_NAME
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


def _missing(option: str, package: str, error: ModuleNotFoundError) -> Exception:
    if error.name is None or error.name.partition(".")[0] != package:
        return error
    return ExplainError(f"{option} needs {package}: pip install 'pretrain-monitor[report]'")


def _check(option: str, path: Path, suffixes: tuple[str, ...], run: Path) -> None:
    own = (run, run / FILE_NAME, run.with_name(CONFIG_NAME), run / CONFIG_NAME)
    try:
        check_output(option, path, suffixes, own, "the log itself, or part of its run")
    except OutputError as error:
        raise ExplainError(str(error)) from None
