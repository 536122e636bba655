"""Keeps failures of ours from the trainer that calls us."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

logger = logging.getLogger(__name__)


class Teller(Protocol):
    """Remembers what it has told the user of already."""

    was_told: set[str]


def guarded(hook: Callable[..., None]) -> Callable[..., None]:
    """A method that never raises: an exception in a callback would end the training. Told once per object.

    >>> class Hooks:
    ...     was_told: set[str] = set()
    ...     @guarded
    ...     def on_step_end(self, step):
    ...         raise RuntimeError("a bug of ours")
    >>> Hooks().on_step_end(1)
    """

    @functools.wraps(hook)
    def safe(self: Teller, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception:
            if hook.__name__ not in self.was_told:
                self.was_told.add(hook.__name__)
                logger.exception("the monitor failed in %s; training goes on", hook.__name__)

    return safe
