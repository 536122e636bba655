"""Where a command prints what is more than a line."""

from __future__ import annotations

from rich.console import Console


class Screen(Console):
    """A console that leaves a reader who has gone away (``| head``) to the command line: nothing is wrong with that."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
