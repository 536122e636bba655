"""Paths in a file of settings: they are relative to the file, and the program runs somewhere else."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .text_files import KNOWN_ENDINGS


def rooted_domain(given: Any, folder: Path | None) -> Any:
    """What ``load_domain`` takes, with files that are found from anywhere."""
    if isinstance(given, str):
        return rooted(given, folder)
    if isinstance(given, list) and given and all(_is_path(item) for item in given):
        return [rooted(item, folder) for item in given]
    if isinstance(given, Mapping) and "files" in given and "package" not in given:
        files = given["files"]
        paths = files if isinstance(files, list) else [files]
        return {**given, "files": [rooted(path, folder) if isinstance(path, str) else path for path in paths]}
    return given


def limited(given: Any, limit: int | None) -> Any:
    """The same domain with its first ``limit`` documents at most."""
    if limit is None:
        return given
    if isinstance(given, Mapping):
        own = given.get("limit")
        return {**given, "limit": min(limit, own) if isinstance(own, int) and not isinstance(own, bool) else limit}
    if isinstance(given, str) or (isinstance(given, list) and given and all(_is_path(item) for item in given)):
        return {"files": given, "limit": limit}
    return given[:limit] if isinstance(given, list) else given


def _is_path(item: Any) -> bool:
    return isinstance(item, str) and "\n" not in item and item.lower().endswith(KNOWN_ENDINGS)


def rooted(path: str, folder: Path | None) -> str:
    """A path, or a pattern of paths, relative to a folder."""
    given = Path(path).expanduser()
    if folder is None or given.is_absolute():
        return str(given)
    # A bracket in the name of the folder is no pattern; one in the path is, unless there is such a file.
    is_pattern = glob.has_magic(path) and not (folder / given).exists()
    return str(Path(glob.escape(str(folder)) if is_pattern else folder, given))
