"""Plain PyTorch and Fabric: one call per optimizer step."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from ..config import MonitorConfig
from ..distributed import is_main_rank
from ..monitor import Monitor
from ..sinks.base import Sink
from ..telemetry import Incident
from .gather import Scalar, StepGatherer


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
        sinks: further receivers of samples and events.
        start_step: optimizer steps already completed, when the loop resumes from a checkpoint.
        summary_writer: your own TensorBoard ``SummaryWriter``, to have the panels in its event file.

    Raises:
        ConfigError: a setting that does not exist or cannot be used.
    """

    def __init__(
        self,
        run_dir: str | Path | None = "runs/loop",
        config: MonitorConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        sinks: Sequence[Sink] = (),
        start_step: int = 0,
        summary_writer: Any = None,
    ) -> None:
        self.monitor = Monitor(run_dir, config, sinks=sinks)
        self.global_step = start_step
        self._gather = StepGatherer(self.monitor, is_writer=is_main_rank())
        self._gather.start(start_step, summary_writer=getattr(summary_writer, "file_writer", summary_writer))
        self._used_rate = _UsedLearningRate()
        self._is_open = True
        atexit.register(self.close, "process exit")

    @property
    def incidents(self) -> list[Incident]:
        return self.monitor.incidents

    def step(
        self,
        loss: Tensor | float,
        grad_norm: Scalar = None,
        optimizer: Any = None,
        *,
        tokens: Scalar = None,
        learning_rate: Scalar = None,
        metrics: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Report one completed optimizer step. Never raises and never waits for the device.

        Call it on every rank, after ``optimizer.step()`` and before ``scheduler.step()``.

        Args:
            loss: mean over the tokens of this rank's batch, in nats; with gradient accumulation, of the whole step.
            grad_norm: what ``clip_grad_norm_`` returned: the norm before clipping.
            optimizer: to read the learning rate from, the largest over its parameter groups.
            tokens: trained on in this step by this rank; weights its loss in the average over ranks.
            learning_rate: as used for this step, if there is no optimizer to read it from.
            metrics: further signals of this step by name; ``loss_scale`` marks a run with a gradient scaler.
        """
        self.global_step += 1
        if learning_rate is None and optimizer is not None:
            learning_rate = self._used_rate.of(optimizer)
        self._gather.push(
            self.global_step,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            tokens=tokens,
            weight=tokens,
            metrics=metrics,
        )

    def checkpointed(self) -> None:
        """Say that you saved a checkpoint; resuming from it is quicker then."""
        self._gather.checkpointed()

    def close(self, reason: str = "finished") -> None:
        """End watching and print the summary; may be called twice."""
        if self._is_open:
            self._is_open = False
            atexit.unregister(self.close)
            self._gather.finish(reason)

    def __enter__(self) -> LoopMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("finished" if kind is None else f"crashed: {kind.__name__}")


class _UsedLearningRate:
    """The learning rate that the last ``optimizer.step()`` used, even if a scheduler has moved on since."""

    def __init__(self) -> None:
        self._hooked: Any = None
        self._rate: Scalar = None

    def of(self, optimizer: Any) -> Scalar:
        optimizer = getattr(optimizer, "optimizer", optimizer)  # Fabric and Accelerate wrap theirs
        if optimizer is not self._hooked:
            self._hooked = optimizer
            self._rate = largest_rate(optimizer)
            optimizer.register_step_pre_hook(self._remember)
        return self._rate

    def _remember(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._rate = largest_rate(optimizer)


def largest_rate(optimizer: Any) -> Scalar:
    """Largest learning rate over an optimizer's parameter groups; a tensor where the optimizer keeps tensors."""
    rates: list[Tensor | float] = [group["lr"] for group in optimizer.param_groups]
    tensors = [rate for rate in rates if isinstance(rate, Tensor)]
    if not tensors:
        return max(rate for rate in rates if not isinstance(rate, Tensor))
    # Comparing device tensors on the host would wait for the device; groups share one schedule in practice.
    return tensors[0].detach().clone()
