"""Who owns a run directory: one live process at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows has no fcntl: there two processes on one directory go unnoticed
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "run.jsonl"  # the run log
LOCK_NAME = "run.lock"

# A POSIX lock does not keep out its own process, and closing any descriptor of the file drops it.
_held_here: set[Path] = set()


class RunDirectoryError(RuntimeError):
    """The run directory cannot be used; the message is one line for the user."""


class RunDirectoryLock:
    """Holds a run directory until ``release`` or the end of the process, however that ends.

    A POSIX record lock and not ``flock``: data-loader workers are forked, would inherit an ``flock`` and
    keep the directory taken after their parent was killed.

    Raises:
        RunDirectoryError: the directory cannot be made or written, or another live process holds it.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self._path = (self.run_dir / LOCK_NAME).absolute()
        if self._path in _held_here:
            raise self.error("is already in use by another monitor of this process; give each its own run_dir")
        self._file = self._take()
        _held_here.add(self._path)

    def release(self) -> None:
        if not self._file.closed:
            _held_here.discard(self._path)
            self._file.close()

    def is_gone(self) -> bool:
        """Whether somebody has deleted the lock file, so that it keeps nobody out."""
        return is_deleted(self._file, self._path)

    def error(self, problem: str) -> RunDirectoryError:
        return RunDirectoryError(f"run directory {self.run_dir} {problem}")

    def _take(self) -> IO[str]:
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="utf-8")
        except FileExistsError:
            raise self.error("is a file, not a directory") from None
        except OSError as error:
            raise self.error(f"cannot be written: {error.strerror}") from None
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                file.seek(0)
                owner = file.read().strip() or "unknown"
                file.close()
                raise self.error(f"belongs to a live process (pid {owner}); choose another run_dir or end it") from None
            except OSError:
                pass  # some network file systems have no locks; writing there is still right
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        return file


def is_deleted(file: IO[Any], path: Path) -> bool:
    """Whether an open file is no longer at ``path`` nor anywhere else; writing to it goes on without an error."""
    facts = os.fstat(file.fileno())
    if facts.st_nlink:
        return False
    try:
        # Some file systems count no links.
        return not os.path.samestat(facts, path.stat())
    except OSError:
        return True
