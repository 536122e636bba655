"""A rewind that only a new process can carry out: written to a file by the old one, obeyed by the new one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .orders import Order

logger = logging.getLogger(__name__)

# Set by ``pretrain-monitor run``: where the plan goes.
VARIABLE = "PRETRAIN_MONITOR_PLAN"
EXIT_STATUS = 75  # of a process that wants to be started anew; sysexits.h calls it EX_TEMPFAIL


def plan_path() -> Path | None:
    """Where a plan may be left for whoever starts the job anew; None if nobody would."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else None


def write_plan(path: Path, order: Order) -> None:
    """
    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(order.to_text() + "\n", encoding="utf-8")
    draft.replace(path)


def read_plan(path: Path | None = None) -> Order | None:
    """The rewind to begin with; None if there is none.

    Args:
        path: None: where ``pretrain-monitor run`` says.
    """
    path = plan_path() if path is None else path
    if path is None:
        return None
    try:
        order = Order.from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        logger.error("%s: the plan of what to do cannot be read and is left out: %s", path, error)
        return None
    details: Any = order.details
    if not isinstance(details, Mapping):
        logger.error("%s: the plan of what to do is no plan and is left out", path)
        return None
    if not isinstance(details.get("checkpoint"), str) or type(details.get("to_step")) is not int:
        logger.error("%s: the plan of what to do names no checkpoint and is left out", path)
        return None
    return order


def drop_plan(path: Path | None = None) -> None:
    """It has been carried out: whoever starts the job by himself does not go back once more."""
    path = plan_path() if path is None else path
    try:
        if path is not None:
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.error("%s: the plan has been carried out but cannot be deleted: %s", path, error.strerror)
