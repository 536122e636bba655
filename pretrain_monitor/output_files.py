"""Files that a command is asked to write, checked before the work that they are for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .printable import shown_path


class OutputError(ValueError):
    """A file that cannot be written; the message is one line for the user."""


def check_output(option: str, path: Path, suffixes: tuple[str, ...], read: Iterable[Path], what_is_read: str) -> None:
    """Whether a file of this name can be written.

    Args:
        option: that asked for it.
        suffixes: that it may have.
        read: files that the command reads, or that must stay: they are not written over, by whatever name.
        what_is_read: they are, for the message.

    Raises:
        OutputError: it cannot.
    """
    name = f"{option} {shown_path(path)}"
    if path.suffix.lower() not in suffixes:
        raise OutputError(f"{name}: give a file that ends in {suffixes[0]}")
    try:
        if path.is_dir():
            raise OutputError(f"{name}: a directory, not a file")
        if path.exists() and not path.is_file():
            raise OutputError(f"{name}: no regular file; name one, or a file that is not there yet")
        if any(_is_same(path, file) for file in read):
            raise OutputError(f"{name}: this is {what_is_read}; name another file")
        if not path.parent.is_dir():
            raise OutputError(f"{name}: the directory {shown_path(path.parent)} does not exist")
        is_writable = os.access(path if path.exists() else path.parent, os.W_OK)
        if is_writable and not path.exists():
            # Who may write anywhere still may not on every file system.
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OutputError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{name}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    if not is_writable:
        raise OutputError(f"{name}: cannot be written: permission denied")


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
