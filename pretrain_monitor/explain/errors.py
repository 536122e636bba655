"""What can be wrong with a wish to have an incident explained."""

from __future__ import annotations


class ExplainError(RuntimeError):
    """What was asked for is not there or cannot be done; the message is one line for the user."""
