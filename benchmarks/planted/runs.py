"""Run directories of runs that never were, written by the adapter that writes those of real ones."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.probes.base import Probe

from .shapes import Floats

logger = logging.getLogger(__name__)

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


@dataclass(frozen=True, slots=True)
class Session:
    """A process that trains.

    Args:
        first: step that it makes first.
        last: step that it makes last.
        end: ``finished``, ``interrupted``, ``crashed``, or ``killed``, which leaves no record of an end.
    """

    first: int
    last: int
    end: str = "finished"


@dataclass(slots=True)
class Course:
    """What a run does at each step; arrays have shape (steps,).

    Args:
        level: loss expected in nats, without events.
        floor: that it falls towards.
        noise: of the logarithm of the loss.
        norm: of the gradient, before clipping.
        rate: learning rate.
        added: nats that the loss of the training text has more, or less, and held-out text has not; NaN makes it NaN.
        lasting: nats by which the weights are worse, which the loss shows and held-out text does too.
        tokens_per_step: trained on.
        max_grad_norm: that gradients are clipped to; None if nobody says.
        never_logged: of ``grad_norm`` and ``learning_rate``.
        sessions: in the order in which they ran; one that does them all if empty.
        announced: what is said of the run, by the step from which it holds.
    """

    level: Floats
    noise: Floats
    norm: Floats
    rate: Floats
    added: Floats
    lasting: Floats
    floor: float = 1.9
    tokens_per_step: int = 524_288
    max_grad_norm: float | None = 1.0
    never_logged: frozenset[str] = frozenset()
    sessions: tuple[Session, ...] = ()
    announced: dict[int, str] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.level)

    @property
    def loss(self) -> Floats:
        return np.asarray((self.level + self.lasting) * np.exp(self.noise) + self.added)


class Stage(nn.Module):
    """Stands for the weights: all that probes have to know of them is how many steps they have been trained for."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0


class _Crash(RuntimeError):
    """Ends a session as an error in somebody's training loop does."""


def write_run(folder: Path, course: Course, probes: tuple[Probe, ...] = (), *, probe_every: int = 500) -> None:
    """Tell a monitor every step of a run, session by session, as a training loop would.

    Args:
        folder: the run directory.
        probes: called with the ``Stage`` of the run.
    """
    config = {**QUIET, "probes": {"every_steps": probe_every, "budget_percent": 1e6}}
    for session in course.sessions or (Session(1, course.steps),):
        if session.end == "killed":
            _in_a_process_of_its_own(folder, course, probes, session, config)
        else:
            try:
                _run(folder, course, probes, session, config)
            except _Crash:
                logger.debug("session crashed as planned")


def _run(folder: Path, course: Course, probes: tuple[Probe, ...], session: Session, config: dict[str, Any]) -> None:
    stage = Stage()
    stage.step = session.first - 1
    loss, norm, rate = course.loss.tolist(), course.norm.tolist(), course.rate.tolist()
    with LoopMonitor(
        folder,
        config,
        probes=probes,
        model=stage,
        start_step=session.first - 1,
        max_grad_norm=course.max_grad_norm,
    ) as monitor:
        for step in range(session.first, session.last + 1):
            if step in course.announced:
                monitor.announce(course.announced[step])
            stage.step = step
            monitor.step(
                loss=loss[step - 1],
                grad_norm=None if "grad_norm" in course.never_logged else norm[step - 1],
                learning_rate=None if "learning_rate" in course.never_logged else rate[step - 1],
                tokens=course.tokens_per_step,
            )
        if session.end == "crashed":
            raise _Crash
        if session.end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if session.end == "interrupted":
            monitor.close("interrupted")


def _in_a_process_of_its_own(*asked: Any) -> None:
    """Where it can be killed without those around it. Spawned: a fork would take locks of threads along."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=asked)
    process.start()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise RuntimeError(f"a session that was to be killed ended with exit code {process.exitcode}")
