"""What adapters share: a step's scalars gathered on the device, summed over ranks, read late, observed in order."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..actions.decide import PAUSE, REFUSED, RESUME
from ..actions.orders import Order
from ..distributed import RankSum, collective_device, do_all_ranks_join, full_scalar, is_distributed
from ..monitor import Monitor
from ..readback import LateReadback
from ..telemetry import Sample
from .averaging import SUMMED, averaged, contribution, on_device, stack
from .order_channel import OrderChannel

logger = logging.getLogger(__name__)

Scalar = Tensor | float | int | None

_JOIN_TIMEOUT_S = 60.0  # ranks reach their first step together, but one may have had more to compile
_FINISH_TIMEOUT_S = 10.0  # the last sum never comes if a rank died before it joined in
_CRASH_TIMEOUT_S = 1.0  # but if it was this rank that failed in the next step, it is there already

_gatherers = itertools.count()  # names each one alike on all ranks


@dataclass(slots=True)
class _Step:
    """The host's half of a step."""

    step: int
    meta: Mapping[str, Any] | None
    metrics: dict[str, float] = field(default_factory=dict)
    # Loss, weight and tokens of this process, or what all ranks added up to.
    batch: dict[str, float] = field(default_factory=dict)
    ranks: int = 1
    # The device's half, and where each of its values belongs.
    row: Tensor | None = None
    late: list[tuple[dict[str, float], str]] = field(default_factory=list)


class StepGatherer:
    """Turns the scalars of each step into samples.

    Nothing here reads a device value before it has arrived: no ``item()``, ``float()`` or truth test on one.

    Args:
        monitor: where the samples go.
        is_writer: whether this rank observes; the others only take part in the sum over ranks.
        readback: how device values get to the host.
        join_timeout_s: how long the first step waits for the other ranks to report theirs.
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        is_writer: bool,
        readback: LateReadback | None = None,
        join_timeout_s: float = _JOIN_TIMEOUT_S,
    ) -> None:
        self._monitor = monitor
        self.is_writer = is_writer
        self._ring = LateReadback() if readback is None else readback
        self._join_timeout_s = join_timeout_s
        self._ranks: RankSum | None = None
        self._channel: OrderChannel | None = None  # of orders to all ranks, if there can be any
        self._has_settled = False
        self._is_alone = False  # in a run of several ranks, without their sums
        self._tokens_seen: int | None = None
        self._told: set[str] = set()

    @property
    def tokens_seen(self) -> int | None:
        """In all steps whose values have arrived; None if unknown."""
        return self._tokens_seen

    def start(self, step: int, *, summary_writer: Any = None, tokens_seen: int | None = None) -> None:
        """Begin watching after ``step`` completed optimizer steps.

        Args:
            step: 0 for a fresh run, the restored global step for a resumed one.
            summary_writer: the trainer's own TensorBoard writer, if it has one.
            tokens_seen: in all steps before, if the trainer keeps count; else the run log tells.
        """
        if self.is_writer:
            self._monitor.start(step, summary_writer=summary_writer)
            self._tokens_seen = self._monitor.tokens_seen if tokens_seen is None else tokens_seen

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
            weight: of this rank's loss in the average, usually the tokens it was averaged over. A loss of weight 0 is
                left out, whatever it is; if some rank gives None, all losses count equally.
            metrics: further signals, taken from this rank as they are.
        """
        try:
            ranks = self._joined_ranks()
            # Up to the collective nothing may fail on this rank only: the others would wait for it.
            batch = self._readable(step, {"loss": loss, "weight": weight, "tokens": tokens})
            own = {"grad_norm": grad_norm, "learning_rate": learning_rate, **self._checked(metrics)}
            own = self._readable(step, own)
            if ranks is not None:
                self._exchange(ranks, _Step(step, meta, ranks=ranks.size), batch, own)
            elif self.is_writer:
                record = _Step(step, meta)
                _split(record, (record.batch, batch), (record.metrics, own))
                self._read(record)
        except Exception:
            self._tell_once("step", "telemetry of step %d failed; training goes on", step, with_trace=True)

    def take_orders(self, rewinds: int = 0) -> list[Order]:
        """What is to be done now, after a step was pushed: the same on every rank, at the same step. Never raises.

        Args:
            rewinds: so far, on every rank. Orders from before the last one are left out: their steps are given up.
        """
        try:
            given = self._monitor.take_orders() if self.is_writer else []
            if self._is_alone:
                for order in given:
                    if order.do not in (PAUSE, RESUME):
                        self._monitor.record_action(order, f"{REFUSED}: not every rank reports its steps")
                return []
            if self._channel is None:
                return given
            self._channel.issue(given, rewinds)
            return self._channel.take(rewinds)
        except Exception:
            self._tell_once("orders", "orders cannot be handed on and are left out", with_trace=True)
            return []

    def rewind(self, order: Order, step: int, *, summary_writer: Any = None) -> None:
        """The training went back to ``step``, on every rank; everything so far has been flushed.

        Args:
            order: why, and from where.
        """
        if self.is_writer:
            self._monitor.rewind(order, step, summary_writer=summary_writer)
            self._tokens_seen = self._monitor.tokens_seen

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait for everything under way and observe it. Never raises."""
        try:
            if self._ranks is not None:
                self._observe(self._ranks.take(timeout_s))
        except Exception as error:
            self._part("the sum over ranks of the last step is lost", error)
        try:
            for arrived in self._ring.flush():
                self._deliver(*arrived)
        except Exception:
            self._tell_once("flush", "the last steps of telemetry are lost; training goes on", with_trace=True)

    def checkpointed(self) -> None:
        """A checkpoint was saved: everything up to it must be in the log."""
        self.flush()
        if self.is_writer:
            self._monitor.checkpointed()

    def finish(self, reason: str, *, wait: bool = True) -> None:
        """End watching. Without ``wait`` hardly anything is expected of the other ranks, which may be gone."""
        self.flush(_FINISH_TIMEOUT_S if wait else _CRASH_TIMEOUT_S)
        if self.is_writer:
            self._monitor.finish(reason)

    def _joined_ranks(self) -> RankSum | None:
        """How to sum over ranks, if there are several; settled at the first step, when there must be a group."""
        if self._has_settled:
            return self._ranks
        self._has_settled = True
        if is_distributed():
            name = f"gatherer{next(_gatherers)}"
            try:
                self._ranks = RankSum() if do_all_ranks_join(name, self._join_timeout_s) else None
            except Exception as error:
                self._part("the ranks cannot agree to sum their values", error)
            else:
                if self._ranks is not None and self._monitor.config.actions:
                    self._channel = OrderChannel()
                if self._ranks is None:
                    self._part("not every rank reports its steps", f"waited {self._join_timeout_s:g} s")
        return self._ranks

    def _part(self, what: str, why: object) -> None:
        """Go on without the other ranks."""
        self._ranks = None
        self._is_alone = True
        if self.is_writer:
            self._tell_once("alone", "%s (%s); from here on loss is that of one rank, tokens are unknown", what, why)

    def _checked(self, metrics: Any) -> dict[str, Any]:
        try:
            return {} if metrics is None else dict(metrics)
        except Exception as error:
            self._tell_once("metrics", "metrics are left out, for they are no mapping: %s", error)
            return {}

    def _readable(self, step: int, values: Mapping[str, Any]) -> dict[str, Tensor | float]:
        """Values as numbers or scalar device tensors; one that can be neither is told of once and left out."""
        readable = {}
        for name, value in values.items():
            try:
                if value is not None:
                    readable[str(name)] = _scalar(value, may_communicate=not self._is_alone)
            except Exception as error:
                self._tell_once(f"value {name}", "step %d: %s is left out: %s", step, name, error)
        return readable

    def _exchange(
        self,
        ranks: RankSum,
        record: _Step,
        batch: Mapping[str, Tensor | float],
        own: Mapping[str, Tensor | float],
    ) -> None:
        device = collective_device()
        issued = 0 if self._channel is None else self._channel.issued
        try:
            addends = contribution(batch, device, issued)
            if self.is_writer:
                _split(record, (record.metrics, own))
        except Exception:
            self._tell_once("step", "telemetry of step %d failed; training goes on", record.step, with_trace=True)
            addends, record = contribution({}, device, issued), _Step(record.step, record.meta, ranks=ranks.size)
        try:
            done = ranks.exchange(record, addends)
        except Exception as error:
            self._part("the process group failed", str(error).partition("\n")[0])
        else:
            self._observe(done)

    def _observe(self, done: tuple[_Step, Tensor] | None) -> None:
        """The sum over ranks has come: it goes to the host together with this rank's own values."""
        if done is None:
            return
        record, sums = done
        if self._channel is not None:
            self._channel.see(sums[-1:])
        if not self.is_writer:
            return
        record.late = [*((record.batch, name) for name in SUMMED), *record.late]
        record.row = sums if record.row is None else torch.cat([on_device(sums, record.row.device), record.row])
        self._read(record)

    def _read(self, record: _Step) -> None:
        for arrived in self._ring.push(record, record.row):
            self._deliver(*arrived)

    def _deliver(self, record: _Step, values: list[float]) -> None:
        for (home, name), value in zip(record.late, values, strict=True):
            home[name] = value
        loss, tokens = averaged(record.batch, record.ranks)
        metrics = record.metrics
        if loss is not None:
            # First, for a run log is also read by eye; and over a metric that somebody gave the same name.
            metrics = {"loss": loss, **metrics}
            metrics["loss"] = loss
        if tokens is None or self._tokens_seen is None or self._is_alone:
            # Once a step's tokens are unknown the sum is unknown for good.
            self._tokens_seen = None
        else:
            self._tokens_seen += tokens
        self._monitor.observe(Sample(record.step, metrics, self._tokens_seen, None, record.meta))

    def _tell_once(self, key: str, message: str, *args: object, with_trace: bool = False) -> None:
        if key not in self._told:
            self._told.add(key)
            logger.warning(message, *args, exc_info=with_trace)


def _scalar(value: Any, *, may_communicate: bool) -> Tensor | float:
    """A number where the host has it already, else a tensor without dimensions on its device."""
    if type(value) is Tensor and value.is_cpu:
        return float(value.item())
    if not may_communicate and not all(placement.is_replicate() for placement in getattr(value, "placements", ())):
        raise ValueError("it is spread over ranks that do not report their steps")
    value = full_scalar(value)
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() != 1:
        raise ValueError(f"expected one number, got a tensor of shape {tuple(value.shape)}")
    if value.is_complex():
        raise ValueError("expected a real number, got a complex one")
    if value.is_cpu:
        return float(value.item())
    scalar: Tensor = value.detach()
    return scalar.reshape(()) if scalar.dim() else scalar


def _split(record: _Step, *homes: tuple[dict[str, float], Mapping[str, Tensor | float]]) -> None:
    """Put numbers where they belong, and device tensors into one row that knows where its values will."""
    tensors: list[Tensor] = []
    for home, values in homes:
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors.append(value)
                record.late.append((home, name))
                home[name] = math.nan  # keeps its place among the others
            else:
                home[name] = value
    if tensors:
        record.row = stack(tensors, tensors[0].device)
