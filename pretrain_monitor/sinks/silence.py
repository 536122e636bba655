"""When no step has come for so long that somebody should know."""

from __future__ import annotations


class Silence:
    """Notices once that steps stop, and that they come again.

    Args:
        limit_s: None never notices.
        now: seconds of one clock that never goes back, as all times here.
    """

    def __init__(self, limit_s: float | None, now: float) -> None:
        self._limit_s = limit_s
        self._last = now
        self._is_told = False
        self._is_over = False

    def begin(self, now: float) -> float | None:
        """Seconds of silence, once it has lasted too long."""
        if self._limit_s is None or self._is_told or self._is_over or now - self._last < self._limit_s:
            return None
        self._is_told = True
        return now - self._last

    def end(self, now: float) -> bool:
        """A step has come; whether that ends a silence that was told of."""
        self._last = now
        self._is_over = False  # a log that is watched from outside may be continued
        was_told, self._is_told = self._is_told, False
        return was_told

    def stop(self) -> None:
        """The run is over: no more steps are expected."""
        self._is_over = True
