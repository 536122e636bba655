"""Logs of other programs and our own, read as samples."""

from .errors import LogError
from .run import read_run

__all__ = ["LogError", "read_run"]
