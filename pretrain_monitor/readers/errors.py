"""What is wrong with a log."""

from __future__ import annotations


class LogError(ValueError):
    """A log that cannot be read; the message is one line for the user."""


class NoRunError(LogError):
    """A log without the run that was asked for."""
