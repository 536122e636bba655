"""Where figures come from: commit, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("pretrain-monitor", "numpy")


def provenance(command: str) -> str:
    """Two lines of Markdown below the tables that were made by ``command``."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    return (
        f"Commit {commit()}; Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, "
        f"{platform.machine()}.\nMade by `{command}`.\n"
    )


def commit() -> str:
    """Hash of the project's commit, with a remark if files differ from it."""
    found = _git("rev-parse", "--short=12", "HEAD")
    if found is None:
        return "unknown (no git checkout)"
    return f"{found} with uncommitted changes" if _git("status", "--porcelain") else found


def _git(*arguments: str) -> str | None:
    """Output of a git command in the project, None where git or the checkout is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
