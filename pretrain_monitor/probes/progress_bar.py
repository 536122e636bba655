"""How far the probes are, on the terminal's last line."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..printable import clean


class ProgressBar:
    """One line on stderr; nothing where that is no terminal.

    >>> with ProgressBar(models=1) as bar:
    ...     bar.doing("reading the texts")
    ...     bar.progress(10, 100)
    """

    def __init__(self, models: int) -> None:
        self.console = Console(stderr=True)
        self._models = models
        self._begin = 0.0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, speed="")
        self._number = 0

    def next_model(self) -> None:
        self._number += 1

    def doing(self, what: str) -> None:
        """Something begins of which nobody knows yet how long it takes."""
        which = f"{self._number}/{self._models} " if self._models > 1 else ""
        self._begin = time.monotonic()
        self._bar.reset(self._task, total=None, description=clean(which + what), speed="")

    def progress(self, done: int, total: int) -> None:
        speed = done / max(time.monotonic() - self._begin, 1e-9)
        self._bar.update(self._task, completed=done, total=total, speed=f"{speed:,.0f} tokens/s")

    def tell(self, line: str) -> None:
        """A line above the bar."""
        self.console.print(Text(clean(line)), soft_wrap=True)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
