"""What keeps a report from being read or written."""

from __future__ import annotations


class ReportError(ValueError):
    """The message is one line for the user."""
