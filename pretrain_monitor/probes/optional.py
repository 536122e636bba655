"""Packages that only some users have."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .base import ProbeError


def imported(module: str, wanted_for: str, package: str | None = None) -> Any:
    """The module, or one line that says what it was wanted for and how to install it.

    Raises:
        ProbeError: it is not installed, or is and cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as problem:
        missing = isinstance(problem, ModuleNotFoundError) and problem.name == module.partition(".")[0]
        why = "" if missing else f" (importing it fails: {one_line(problem)})"
        raise ProbeError(f"{wanted_for} needs {package or module}{why}: pip install {package or module}") from None


def one_line(problem: BaseException, longest: int = 200) -> str:
    """What an exception says, in one line for people: some libraries answer with a page."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."
