"""Where samples and events go after the run log: anything with ``on_sample``, ``on_event`` or ``close``."""

from .base import ListSink, Sink

__all__ = ["ListSink", "Sink"]
