"""What a user of the benchmark can get wrong, told in one line."""

from __future__ import annotations


class UsageError(ValueError):
    """A folder, file or name that cannot be used; the message says what was given and what is allowed."""
