"""Where samples and events go after the run log: anything with ``on_sample``, ``on_event``, ``on_end``, ``on_tick`` or
``close``."""

from .base import ListSink, Sink

__all__ = ["ListSink", "Sink"]
