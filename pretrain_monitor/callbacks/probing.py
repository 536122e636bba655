"""The probes of one adapter: nothing at all without any, so that no adapter has to ask."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from ..monitor import Monitor
from ..probes.attempt import ForwardContext
from ..probes.base import Probe
from ..probes.checked_probes import checked_probes
from ..probes.runner import ProbeRunner
from .gather import StepGatherer


class Probing:
    """What ``ProbeRunner`` does, from the start of a training to its end.

    Raises:
        ConfigError: something in ``probes`` is no probe.
    """

    def __init__(self, probes: Sequence[Probe], monitor: Monitor) -> None:
        self._probes = checked_probes(probes)
        self._monitor = monitor
        self._runner: ProbeRunner | None = None

    def begin(
        self, step: int, model: Any, gather: StepGatherer, forward_context: ForwardContext = contextlib.nullcontext
    ) -> None:
        if self._probes:
            self._runner = ProbeRunner(
                self._probes,
                self._monitor.config.probes,
                self._monitor,
                is_writer=gather.is_writer,
                flush=gather.flush,
                tokens_seen=lambda: gather.tokens_seen,
                forward_context=forward_context,
            )
            self._runner.begin(step, model)

    def after_step(self, step: int, model: Any) -> None:
        if self._runner is not None:
            self._runner.after_step(step, model)

    def checkpointed(self, step: int, model: Any) -> None:
        if self._runner is not None:
            self._runner.checkpointed(step, model)

    def end(self, step: int, model: Any) -> None:
        if self._runner is not None:
            self._runner.end(step, model)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None
