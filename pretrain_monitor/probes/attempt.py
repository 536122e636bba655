"""One probe, run so that neither the training nor the other ranks notice if it fails."""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..distributed import is_distributed
from .base import Probe, ProbeError
from .meeting import END, OutOfStep, meet
from .neutral import neutral

logger = logging.getLogger(__name__)

ForwardContext = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    Args:
        result: None if there is none, on all ranks alike.
        problem: why, in a line.
    """

    probe: str
    result: Mapping[str, float] | None
    problem: str | None
    seconds: float


def attempt(probe: Probe, model: Any, forward_context: ForwardContext) -> Attempt:
    """Run a probe, on every rank. What stops it on one rank stops it on all, and all are told what it was."""
    started = clock.monotonic()
    result: Mapping[str, float] | None = None
    problem, have_parted = None, False
    try:
        with neutral(model), forward_context():
            result = probe(model)
        for name, value in result.items():
            float(value)
            str(name)
    except ProbeError as error:
        problem = str(error)
    except OutOfStep as error:
        # The others have been told at the place where they are.
        problem, have_parted = str(error), True
    except Exception as error:
        problem = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:300]}"
        logger.debug("probe %s failed", probe.name, exc_info=True)
    if is_distributed() and not have_parted:
        problem = _heard(problem)
    return Attempt(probe.name, result if problem is None else None, problem, clock.monotonic() - started)


def _heard(problem: str | None) -> str | None:
    try:
        return meet(END, problem)
    except OutOfStep as error:
        # Others are still inside: they wait for a rank that did not come to where they are.
        return problem or str(error)
