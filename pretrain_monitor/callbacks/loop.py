"""Plain PyTorch and Fabric: one call per optimizer step."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

try:
    import torch  # noqa: F401  (said here, where the user's import is, and not by a module further down)
except ImportError as error:
    raise ImportError("LoopMonitor needs torch: pip install torch") from error

from ..actions.orders import Order
from ..config import ConfigError, MonitorConfig, WhatChanges
from ..distributed import is_main_rank
from ..monitor import Monitor
from ..probes.base import Probe
from ..sinks.base import Sink
from ..telemetry import Incident
from .gather import Scalar, StepGatherer
from .learning_rate import UsedLearningRates
from .loop_actions import Load, LoopActions, Save
from .probing import Probing

logger = logging.getLogger(__name__)


class LoopMonitor:
    """Watches a training loop of your own.

    Use it as a context manager, or call ``close()``; what is still open is closed when the process exits.

    >>> import torch
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    >>> with LoopMonitor(None, {"console": {"enabled": False}}) as monitor:
    ...     for _ in range(3):
    ...         loss = model(torch.ones(2, 4)).square().mean()
    ...         loss.backward()
    ...         norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    ...         optimizer.step()
    ...         monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer)
    ...         optimizer.zero_grad()
    >>> monitor.incidents
    []

    Args:
        run_dir: where the run log and the event files go; None keeps nothing on disk.
        config: a ``MonitorConfig``, a mapping with its keys, or a YAML file.
        probes: what to measure during the training; when is for ``config.probes`` to say.
        model: what the probes measure, as it is trained: wrapped, and on its device.
        forward_context: what you compute forward passes in, if it is not the model's own business, as in
            ``lambda: torch.autocast("cuda", torch.bfloat16)``.
        sinks: further receivers of samples and events.
        actions: what is done about incidents, such as ``Rewind()``. Look at ``should_stop`` in your loop, ask
            ``should_skip(norm)`` before the optimizer steps, and count by ``global_step``, which goes back in a rewind.
        save: called with a step on every rank where a checkpoint is ordered; returns its path.
        load: called with a path on every rank: brings model, optimizer and scheduler back to what was saved there.
            With ``Rewind(by_restart=True)`` it is called here, in the process that is to go on from there.
        start_step: optimizer steps already completed, when the loop resumes from a checkpoint.
        max_grad_norm: what you give ``clip_grad_norm_``, for the audit to tell how many steps were clipped.
        summary_writer: your own TensorBoard ``SummaryWriter``, to have the panels in its event file.

    Raises:
        ConfigError: a setting that does not exist or cannot be used, such as a negative ``start_step``.
    """

    def __init__(
        self,
        run_dir: str | Path | None = "runs/loop",
        config: MonitorConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        probes: Sequence[Probe] = (),
        model: Any = None,
        forward_context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
        sinks: Sequence[Sink] = (),
        actions: Sequence[Any] = (),
        save: Save | None = None,
        load: Load | None = None,
        start_step: int = 0,
        max_grad_norm: float | None = None,
        summary_writer: Any = None,
    ) -> None:
        if not hasattr(start_step, "__index__") or start_step < 0:
            raise ConfigError(f"start_step = {start_step!r}: give the optimizer steps already completed, 0 or more")
        if probes and model is None:
            raise ConfigError("probes need the model that they measure: LoopMonitor(..., probes=probes, model=model)")
        self.monitor = Monitor(run_dir, config, sinks=sinks, actions=actions)
        self.monitor.max_grad_norm = max_grad_norm
        self.model = model
        self._probes = Probing(probes, self.monitor)
        self._gather = StepGatherer(self.monitor, is_writer=is_main_rank())
        self._actions = LoopActions(self.monitor, self._gather, save, load, self._went_back)
        self.global_step = self._actions.obey_plan(int(start_step))
        self._gather.start(self.global_step, summary_writer=_file_writer(summary_writer))
        self._summary_writer = summary_writer
        self._forward_context = forward_context
        self._used_rates = UsedLearningRates()  # before actions, which may lower them in the step
        self._actions.begin(self.global_step)
        self._was_told: set[str] = set()
        self._is_open = True
        self._pid = os.getpid()
        atexit.register(self._at_exit)
        self._probes.begin(self.global_step, self.model, self._gather, forward_context)

    @property
    def incidents(self) -> list[Incident]:
        """Every incident so far in its latest state, in the order of detection; empty on all ranks but the first."""
        return self.monitor.incidents

    def step(
        self,
        loss: Scalar,
        grad_norm: Scalar = None,
        optimizer: Any = None,
        *,
        tokens: Scalar = None,
        learning_rate: Scalar = None,
        metrics: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Report one completed optimizer step. Never raises and never waits for the device.

        Call it once per step on every rank, anywhere between ``optimizer.step()`` and the next one: the learning rate
        is noted when the optimizer steps, so a scheduler may step before or after.

        Args:
            loss: mean over the tokens of this rank's batch, in nats; with gradient accumulation, of the whole step.
                None on a rank that has none, such as an early stage of a pipeline.
            grad_norm: what ``clip_grad_norm_`` returned: the norm before clipping.
            optimizer: to tell the learning rate, the largest over its parameter groups; or a sequence of optimizers.
            tokens: trained on in this step by this rank; weights its loss in the average over ranks.
            learning_rate: as used for this step, if there is no optimizer to read it from.
            metrics: further signals of this step by name; ``loss_scale`` marks a run with a gradient scaler.
        """
        if not self._is_open:
            self._tell_once(
                "closed",
                "step() after close() is ignored: make a LoopMonitor with start_step=%d to go on",
                self.global_step,
            )
            return
        self.global_step += 1
        if learning_rate is None and optimizer is not None:
            try:
                learning_rate = self._used_rates.largest(optimizer)
            except Exception as error:
                # Not on the way out: the other ranks count on this one to report its step.
                self._tell_once("rate", "no learning rate in %s: %r", type(optimizer).__name__, error)
        self._gather.push(
            self.global_step,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=self._actions.used_rate(learning_rate),
            tokens=tokens,
            weight=tokens,
            metrics=self._actions.metrics(metrics),
            meta=self._actions.meta(),
        )
        self._probes.after_step(self.global_step, self.model)
        self._actions.after_step(self.global_step, optimizer)

    @property
    def should_stop(self) -> bool:
        """Whether an action has ordered the training to end; the same on every rank."""
        return self._actions.should_stop

    @property
    def exit_status(self) -> int | None:
        """What such an action wants the process to end with."""
        return self._actions.exit_status

    def should_skip(self, grad_norm: Scalar, *, has_scaler: bool = False) -> bool:
        """Whether ``SkipStep`` leaves out the update that would come next: then do not let the optimizer step.

        False without that action. The same on every rank, if the norm is. Reads the norm, for which a device is waited.

        Args:
            grad_norm: what ``clip_grad_norm_`` returned.
            has_scaler: a ``GradScaler`` is used, which leaves out by itself what is not finite.
        """
        return self._actions.should_skip(grad_norm, has_scaler=has_scaler)

    def guard(self, optimizer: Any, grad_norm: Scalar, *, has_scaler: bool = False) -> None:
        """Instead of asking ``should_skip``: before ``optimizer.step()``, which then does nothing where it should not.

        With ``SkipStep(on_device=True)`` and a fused optimizer the host does not wait for the answer.

        Args:
            grad_norm: what ``clip_grad_norm_`` returned.
            has_scaler: a ``GradScaler`` is used, which leaves out by itself what is not finite.
        """
        self._actions.guard(optimizer, grad_norm, has_scaler=has_scaler)

    def take_steps_to_skip(self) -> int:
        """Optimizer steps' worth of data to read past before the next one, after a rewind that asks for it; once."""
        steps, self._actions.steps_to_skip = self._actions.steps_to_skip, 0
        return steps

    def announce(self, text: str, *, step: int | None = None, what: WhatChanges = "data_stage") -> None:
        """Say that the run is changed on purpose, at any time and from any thread. Never raises.

        >>> with LoopMonitor(None, {"console": {"enabled": False}}) as monitor:
        ...     monitor.announce("stage 2: code")

        Args:
            text: what changes, for the people who read the incidents; what rank 0 says counts.
            step: first step that is trained in the new way, known ahead or just past; None: the next one.
            what: data_stage, batch_size, sequence_length, learning_rate or other.
        """
        if self._is_open:
            self.monitor.announce(text, step=step, what=what, completed_steps=self.global_step)
        else:
            self._tell_once("announce", "announce() after close() is ignored")

    def checkpointed(self, path: str | Path | None = None) -> None:
        """Say, on every rank, that you saved a checkpoint: all steps up to it are in the log then, also if the run is
        killed, and resuming from it is quicker.

        Args:
            path: where it is, for actions that go back to it or keep it.
        """
        self._gather.checkpointed()
        self._actions.saved(self.global_step, path)
        self._probes.checkpointed(self.global_step, self.model)

    def close(self, reason: str = "finished") -> None:
        """End watching and print the summary; may be called twice. In a run of several ranks, before the group ends."""
        if self._is_open:
            self._probes.end(self.global_step, self.model)
        self._close(reason, is_orderly=True)

    def __enter__(self) -> LoopMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._close(_ENDED_BY.get(kind, f"crashed: {kind.__name__}"), is_orderly=issubclass(kind, SystemExit))

    def _went_back(self, order: Order, step: int) -> None:
        self.global_step = step
        self._gather.rewind(order, step, summary_writer=_file_writer(self._summary_writer))
        self._probes.close()
        self._probes.begin(step, self.model, self._gather, self._forward_context)

    def _at_exit(self) -> None:
        # A forked child inherits this too, but the run is its parent's.
        if os.getpid() == self._pid:
            self._close("process exit", is_orderly=False)

    def _close(self, reason: str, *, is_orderly: bool) -> None:
        if self._is_open:
            self._is_open = False
            atexit.unregister(self._at_exit)
            self._used_rates.close()
            self._actions.close()
            self._probes.close()
            self._gather.finish(reason, wait=is_orderly)

    def _tell_once(self, key: str, message: str, *args: object) -> None:
        if key not in self._was_told:
            self._was_told.add(key)
            logger.warning(message, *args)


def _file_writer(summary_writer: Any) -> Any:
    return getattr(summary_writer, "file_writer", summary_writer)


_ENDED_BY: dict[type[BaseException], str] = {KeyboardInterrupt: "interrupted", SystemExit: "process exit"}
