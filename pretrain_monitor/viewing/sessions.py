"""When a run was begun, gone on with and ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Session:
    """A process that trained: the step after which it went on, and when it began in seconds since the epoch.

    Args:
        max_grad_norm: norm that it clipped gradients to; None if nobody said.
    """

    after_step: int
    time: float | None
    max_grad_norm: float | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The last word of a session."""

    step: int
    time: float | None
    reason: str
