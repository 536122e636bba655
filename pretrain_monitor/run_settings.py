"""The settings a run is watched with: written beside its log, and read again by whoever replays it."""

from __future__ import annotations

from pathlib import Path

import yaml

from .config import MonitorConfig
from .runlog import FILE_NAME

CONFIG_NAME = "config.yaml"


def write_settings(run_dir: Path, config: MonitorConfig) -> None:
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    (run_dir / CONFIG_NAME).write_text(text, encoding="utf-8")


def own_settings(path: Path) -> Path | None:
    """The settings as resolved when the run was watched, if ``path`` is a run directory or its log."""
    log = run_log(path)
    config = log.with_name(CONFIG_NAME) if log is not None else None
    return config if config is not None and config.is_file() else None


def run_log(path: Path) -> Path | None:
    """The run log that ``path`` is or holds; None if it is none."""
    try:
        log = path / FILE_NAME if path.is_dir() else path
        return log if log.name == FILE_NAME and log.is_file() else None
    except OSError:
        return None  # to open it says what is wrong with it
