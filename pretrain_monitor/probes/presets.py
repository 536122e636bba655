"""Probe files that come with the package, to be named instead of written."""

from __future__ import annotations

from pathlib import Path

from .base import ProbeError

# Built into the package from configs/probes, where they stand in a checkout: there is one of each to keep up.
_PACKAGE = Path(__file__).parent.parent
_FOLDERS = (_PACKAGE / "presets" / "probes", _PACKAGE.parent / "configs" / "probes")


def presets() -> dict[str, Path]:
    """Their files by name."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def probe_file_path(given: str | Path) -> Path:
    """The file that is meant: a path has an ending or a folder in it, the name of a preset has neither.

    Raises:
        ProbeError: no such preset.
    """
    path = Path(given).expanduser()
    if path.suffix or len(path.parts) != 1 or path.is_file():
        return path
    known = presets()
    if str(given) not in known:
        raise ProbeError(f"no probe file or preset {str(given)!r}; presets are {', '.join(known)}")
    return known[str(given)]
