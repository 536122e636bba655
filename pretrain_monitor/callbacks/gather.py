"""What adapters share: a step's scalars gathered on the device, summed over ranks, read late, observed in order."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..distributed import RankMean, collective_device, full_scalar, is_distributed
from ..monitor import Monitor
from ..readback import LateReadback
from ..telemetry import Sample

logger = logging.getLogger(__name__)

Scalar = Tensor | float | int | None

# Layout of the part that is summed over ranks: weighted loss, weight, tokens, ranks that know their tokens.
_SUMMED = 4


@dataclass(slots=True)
class _Step:
    """The host's half of a step: what was a number already, and what the device vector holds."""

    step: int
    metrics: dict[str, float]
    device_names: list[str] = field(default_factory=list)
    tokens: int | None = None
    meta: Mapping[str, Any] | None = None
    ranks: int = 1


class StepGatherer:
    """Turns the scalars of each step into samples.

    Nothing here reads a device value before it has arrived: no ``item()``, ``float()`` or truth test on one.

    Args:
        monitor: where the samples go.
        is_writer: whether this rank observes; the others only take part in the sum over ranks.
    """

    def __init__(self, monitor: Monitor, *, is_writer: bool) -> None:
        self._monitor = monitor
        self._is_writer = is_writer
        self._ring = LateReadback()
        self._ranks = RankMean() if is_distributed() else None
        self._tokens_seen: int | None = None
        self._failed = False

    def start(self, step: int, *, summary_writer: Any = None) -> None:
        if self._is_writer:
            self._monitor.start(step, summary_writer=summary_writer)
            self._tokens_seen = self._monitor.tokens_seen

    def push(
        self,
        step: int,
        *,
        loss: Scalar,
        grad_norm: Scalar = None,
        learning_rate: Scalar = None,
        tokens: Scalar = None,
        weight: Scalar = None,
        metrics: Mapping[str, Scalar] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the scalars of a completed step. Never raises; every rank calls it for every step.

        Args:
            loss: of this rank, in nats; averaged over ranks.
            grad_norm: of the whole model before clipping, the same on all ranks.
            tokens: trained on in this step by this rank; summed over ranks.
            weight: of this rank's loss in the average, usually the tokens it was averaged over; equal weights if None.
            metrics: further signals, taken from this rank as they are.
        """
        others = {"grad_norm": grad_norm, "learning_rate": learning_rate, **(metrics or {})}
        try:
            # A collective: every rank, in this order, before anything that could fail on one rank only.
            others = {name: full_scalar(value) for name, value in others.items()}
            summed = self._summed(loss, weight, tokens) if self._ranks is not None else None
            if self._ranks is not None and summed is not None:
                record = self._record(step, others, meta, ranks=torch.distributed.get_world_size())
                self._observe(self._ranks.exchange(record, summed))
            elif self._is_writer:
                record = self._record(step, {"loss": loss, **others, "tokens": tokens}, meta, ranks=1)
                self._read(*record)
        except Exception:
            if not self._failed:
                self._failed = True
                logger.exception("telemetry of step %d failed; training goes on", step)

    def flush(self) -> None:
        """Wait for everything under way and observe it. Never raises."""
        try:
            if self._ranks is not None:
                self._observe(self._ranks.take())
            for arrived in self._ring.flush():
                self._deliver(*arrived)
        except Exception:
            logger.exception("the last steps of telemetry were lost; training goes on")

    def checkpointed(self) -> None:
        """A checkpoint was saved: everything up to it must be in the log."""
        self.flush()
        if self._is_writer:
            self._monitor.checkpointed()

    def finish(self, reason: str) -> None:
        self.flush()
        if self._is_writer:
            self._monitor.finish(reason)

    def _summed(self, loss: Scalar, weight: Scalar, tokens: Scalar) -> Tensor:
        device = loss.device if isinstance(loss, Tensor) and loss.device.type != "cpu" else collective_device()
        has_loss, has_tokens = loss is not None, tokens is not None
        share: Scalar = (1.0 if weight is None else weight) if has_loss else 0.0
        entries = [loss if has_loss else 0.0, share, tokens if has_tokens else 0.0, float(has_tokens)]
        vector = _vector(entries, device)
        vector[0] = vector[0] * vector[1]
        return vector

    def _record(
        self, step: int, values: Mapping[str, Scalar], meta: Mapping[str, Any] | None, *, ranks: int
    ) -> tuple[_Step, Tensor | None]:
        """Split values into host numbers and one device vector."""
        record = _Step(step, {}, meta=meta, ranks=ranks)
        tensors: list[Tensor] = []
        for name, value in values.items():
            if value is None:
                continue
            if isinstance(value, Tensor):
                record.device_names.append(name)
                tensors.append(value)
            elif name == "tokens":
                record.tokens = int(value)
            else:
                record.metrics[name] = float(value)
        if not tensors:
            return record, None
        # Host tensors go to the device, never the other way: that would wait for the device.
        device = next((t.device for t in tensors if t.device.type != "cpu"), tensors[0].device)
        return record, _vector(tensors, device)

    def _observe(self, done: tuple[Any, Tensor] | None) -> None:
        """The sum over ranks has arrived on the device: append this rank's own values and read both."""
        if done is None or not self._is_writer:
            return
        (record, own), summed = done
        summed[0] = summed[0] / summed[1]
        record.device_names = ["loss", "loss_weight", "tokens", "ranks_with_tokens", *record.device_names]
        self._read(record, summed if own is None else torch.cat([summed, own.to(summed.device)]))

    def _read(self, record: _Step, vector: Tensor | None) -> None:
        if vector is None:
            for arrived in self._ring.flush():
                self._deliver(*arrived)
            self._deliver(record, [])
            return
        for arrived in self._ring.push(record, vector):
            self._deliver(*arrived)

    def _deliver(self, record: _Step, values: list[float]) -> None:
        metrics = {**dict(zip(record.device_names, values, strict=True)), **record.metrics}
        tokens: float | None = metrics.pop("tokens", record.tokens)
        if "loss_weight" in metrics:
            if metrics.pop("loss_weight") == 0:
                del metrics["loss"]
            if metrics.pop("ranks_with_tokens") < record.ranks:
                tokens = None
        if tokens is None or not math.isfinite(tokens) or self._tokens_seen is None:
            # Once a step's tokens are unknown the sum is unknown for good.
            self._tokens_seen = None
        else:
            self._tokens_seen += int(tokens)
        self._monitor.observe(Sample(record.step, _ordered(metrics), self._tokens_seen, meta=record.meta))


def _vector(values: list[Any], device: torch.device) -> Tensor:
    """Scalars as one float32 vector, on the device and in its stream."""
    if all(not isinstance(value, Tensor) for value in values):
        return torch.tensor(values, dtype=torch.float32, device=device)
    scalars = [
        value.detach().reshape(()).to(device=device, dtype=torch.float32, non_blocking=True)
        if isinstance(value, Tensor)
        else torch.full((), float(value), dtype=torch.float32, device=device)
        for value in values
    ]
    return torch.stack(scalars)


def _ordered(metrics: dict[str, float]) -> dict[str, float]:
    """Loss, gradient norm and learning rate first: a run log is also read by eye."""
    order = ("loss", "grad_norm", "learning_rate", *metrics)
    return {name: metrics[name] for name in order if name in metrics}
