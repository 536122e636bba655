"""One probe, run so that neither the training nor the other ranks notice if it fails."""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..distributed import is_distributed
from .base import Probe, ProbeError, ProbeResult, Scores
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
    result: ProbeResult | None
    problem: str | None
    seconds: float


def attempt(probe: Probe, model: Any, forward_context: ForwardContext) -> Attempt:
    """Run a probe, on every rank. What stops it on one rank stops it on all, and all are told what it was."""
    started = clock.monotonic()
    result: ProbeResult | None = None
    problem, have_parted = None, False
    try:
        with neutral(model), forward_context():
            found = probe(model)
        result = _checked(found)
    except ProbeError as error:
        problem = str(error)
    except OutOfStep as error:
        # The others have been told at the place where they are.
        problem, have_parted = str(error), True
    except (Exception, SystemExit) as error:
        # SystemExit: somebody's program, made into a probe, that ends as programs do.
        problem = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:300]}"
        logger.debug("probe %s failed", probe.name, exc_info=True)
    if is_distributed() and not have_parted:
        problem = _heard(problem)
    return Attempt(probe.name, result if problem is None else None, problem, clock.monotonic() - started)


def _checked(found: Any) -> ProbeResult:
    """What a probe of anybody's has returned, in plain numbers.

    Raises:
        ProbeError: something that the run log, the charts or the comparison of rounds could not take.
    """
    if not isinstance(found, Mapping):
        raise ProbeError(f"a probe returns a mapping from names to numbers, this one returned {type(found).__name__}")
    metrics: dict[str, float] = {}
    for name, value in found.items():
        if not str(name) or not str(name).isprintable():
            raise ProbeError(f"it returned a value named {str(name)!r}: give a name that can be printed")
        try:
            metrics[str(name)] = float(value)
        except OverflowError:
            raise ProbeError(f"{str(name)!r} is a number too large for a float") from None
        except (TypeError, ValueError, RuntimeError):
            raise ProbeError(f"a probe returns numbers, and {str(name)!r} is {_what(value)}") from None
    if not isinstance(found, ProbeResult):
        return ProbeResult(metrics)
    for name, scores in found.scores.items():
        if not isinstance(scores, Scores):
            raise ProbeError(f"scores of {name!r} are Scores, this probe returned {type(scores).__name__}")
    return ProbeResult(metrics, found.scores, [str(note) for note in found.notes])


def _what(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}{f' of shape {tuple(shape)}' if shape else ''}"


def _heard(problem: str | None) -> str | None:
    try:
        return meet(END, problem)
    except OutOfStep as error:
        # Others are still inside: they wait for a rank that did not come to where they are.
        return problem or str(error)
