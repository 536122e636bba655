"""Checkpoints as files: which there are, keeping one from rotation, putting aside those that came after."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from .decide import Good

logger = logging.getLogger(__name__)

KEPT, UNDONE = "kept", "undone"


def newest_before(checkpoints: Iterable[Good], step: int) -> Good | None:
    """The newest at or before ``step``."""
    return max((one for one in checkpoints if one.step <= step), default=None, key=lambda one: one.step)


def keep(path: Path, step: int) -> Path:
    """A checkpoint, file or directory, under a name that no rotation knows: ``kept/`` beside it.

    By hard links where the file system has them: nothing is copied, and it takes no room until the original is gone.
    One whose name does not have its step in it, as ``last.ckpt``, is copied, to a name that has: it will be written
    over.

    Raises:
        OSError: it cannot be read, or not be written there.
    """
    says_step = re.search(rf"(?<!\d){step}(?!\d)", path.name) is not None
    name = path.name if says_step else f"{path.stem}-step={step}{path.suffix}"
    target = path.parent / KEPT / name
    if path.parent.name == KEPT or target.exists():
        return path if path.parent.name == KEPT else target
    target.parent.mkdir(exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    copy = _link if says_step else shutil.copy2
    if path.is_dir():
        shutil.copytree(path, draft, copy_function=copy, dirs_exist_ok=True)
    else:
        copy(str(path), str(draft))
    draft.rename(target)
    return target


def put_aside(path: Path) -> Path:
    """A checkpoint that came after the step gone back to, where no trainer looks for the newest: ``undone/``.

    Raises:
        OSError: it cannot be moved.
    """
    folder = path.parent / UNDONE
    folder.mkdir(exist_ok=True)
    target, number = folder / path.name, 1
    while target.exists():
        number += 1
        target = folder / f"{path.name}.{number}"
    path.rename(target)
    return target


def try_to_put_aside(path: Path) -> None:
    """The same, or an error in the log: by then the training has gone back, and has to be told so in any case."""
    try:
        put_aside(path)
    except OSError as error:
        logger.error("%s: cannot be put aside (%s); nobody should resume from it", path, error.strerror)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
