"""What a user of the benchmark can get wrong, told in one line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class UsageError(ValueError):
    """A folder, file or name that cannot be used; the message says what was given and what is allowed."""


class OneLineParser(argparse.ArgumentParser):
    """Raises a ``UsageError`` for a mistake instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)
