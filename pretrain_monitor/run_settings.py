"""The settings a run is watched with: written beside its log, and read again by whoever replays it."""

from __future__ import annotations

from pathlib import Path

import yaml

from .config import ConfigError, MonitorConfig, load_config
from .rundir import FILE_NAME
from .sinks.addresses import shown

CONFIG_NAME = "config.yaml"


def write_settings(run_dir: Path, config: MonitorConfig) -> None:
    """As resolved, but for addresses of services: there may be passwords in them."""
    settings = config.model_dump(mode="json")
    settings["notify"]["urls"] = [shown(address) for address in config.notify.urls]
    text = yaml.safe_dump(settings, sort_keys=False)
    (run_dir / CONFIG_NAME).write_text(text, encoding="utf-8")


def own_settings(path: Path) -> Path | None:
    """The settings as resolved when the run was watched, if ``path`` is a run directory or its log."""
    try:
        log = path / FILE_NAME if path.is_dir() else path.resolve()
        config = log.with_name(CONFIG_NAME)
        return config if log.name in (FILE_NAME, f"{FILE_NAME}.gz") and config.is_file() else None
    except (OSError, RuntimeError):  # Python 3.11 and 3.12 tell a loop of links by the latter
        return None  # to open it says what is wrong with it


def load_own_settings(path: Path) -> MonitorConfig:
    """The settings a run was watched with, or the defaults.

    Raises:
        ConfigError: the file beside its log has other settings; it says how to do without it.
    """
    try:
        return load_config(own_settings(path))
    except ConfigError as error:
        raise ConfigError(f"{error}; it stands beside the log: to use other settings, give --config FILE") from None


def run_log(path: Path) -> Path | None:
    """The run log that ``path`` is or holds; None if it is none."""
    try:
        log = path / FILE_NAME if path.is_dir() else path
        return log if log.name == FILE_NAME and log.is_file() else None
    except OSError:
        return None  # to open it says what is wrong with it
