"""Lightning: one sample per optimizer step, in automatic and in manual optimization."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
except ImportError as error:
    raise ImportError("MonitorCallback needs lightning: pip install 'pretrain-monitor[lightning]'") from error

import torch
from torch import Tensor

from ..actions.orders import Order
from ..config import MonitorConfig, WhatChanges
from ..distributed import full_scalar, global_grad_norm
from ..monitor import Monitor
from ..probes.base import Probe
from ..probes.language_model import language_model_in
from ..sinks.base import Sink
from ..telemetry import Incident
from .domains import DomainWindow
from .gather import Scalar, StepGatherer
from .guard import guarded
from .learning_rate import largest_rate
from .lightning_actions import LightningActions
from .lightning_clipping import ClippingTap, loss_scale_of, unscaled
from .losses import in_float32
from .probing import Probing
from .window import StepWindow, tokens_of

logger = logging.getLogger(__name__)

_BLIND_AFTER_BATCHES = 1000


class MonitorCallback(Callback):  # type: ignore[misc]  # lightning is optional, so its types are not loaded
    """Watches a Lightning run: ``Trainer(callbacks=[MonitorCallback("runs/tonight")])``.

    A sample's step is ``trainer.global_step``, which counts every ``optimizer.step()``: with two optimizers it advances
    by two per batch, and there is one sample per batch. In manual optimization the loss is what ``training_step``
    returns, and the gradient norm is the one before clipping if you clip with ``self.clip_gradients``; clip with torch
    before ``optimizer.step()`` and only what is left after clipping can be seen.

    Under several processes put it on every rank, as Lightning does by itself; rank 0 detects and writes.

    Args:
        run_dir: where the run log and the event files go; None keeps nothing on disk.
        config: a ``MonitorConfig``, a mapping with its keys, or a YAML file.
        probes: what to measure during the training; when is for ``config.probes`` to say.
        domain_key: of a list in each batch that names the domain of each row: it is taken out before ``training_step``
            sees the batch, and shares of the tokens are told by domain; losses too if the module holds a Hugging Face
            model that is called with labels.
        sinks: further receivers of samples and events.
        actions: what is done about incidents, such as ``Rewind()``.
        count_tokens: tokens trained on in one batch, as an int or a tensor that stays on its device. Without it they
            are counted from ``attention_mask`` or ``input_ids`` where a batch is a mapping that has them.

    Raises:
        ConfigError: a setting that does not exist or cannot be used.
    """

    def __init__(
        self,
        run_dir: str | Path | None = "runs/lightning",
        config: MonitorConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        probes: Sequence[Probe] = (),
        domain_key: str | None = None,
        sinks: Sequence[Sink] = (),
        actions: Sequence[Any] = (),
        count_tokens: Callable[[Any], int | Tensor] | None = None,
    ) -> None:
        self.monitor = Monitor(run_dir, config, sinks=sinks, actions=actions)
        self._actions = LightningActions(self.monitor)
        self._probes = Probing(probes, self.monitor)
        self._domains = DomainWindow(domain_key)
        self._saved_step: int | None = None  # of a checkpoint that the probes have not been told of
        self._count_tokens: Callable[[Any], Scalar] | None = count_tokens or tokens_of
        self._gather: StepGatherer | None = None  # from the start of training to its end
        self.was_told: set[str] = set()
        self._step = 0
        self._window = StepWindow()
        self._clipping = ClippingTap(self._guard)
        self._sees_norm = True
        self._norms: dict[int, Tensor | None] = {}  # by id of the optimizer
        self._rates: list[Scalar] = []
        self._loss_scale: Scalar = None

    @property
    def incidents(self) -> list[Incident]:
        """Every incident so far in its latest state; empty on every rank but 0."""
        return self.monitor.incidents

    def announce(self, text: str, *, step: int | None = None, what: WhatChanges = "data_stage") -> None:
        """Say that the run is changed on purpose, at any time and from any thread. Never raises.

        Args:
            text: what changes, for the people who read the incidents; what rank 0 says counts.
            step: first step that is trained in the new way, known ahead or just past; None: the next one.
            what: data_stage, batch_size, sequence_length, learning_rate or other.
        """
        completed = None if self._gather is None else self._step
        self.monitor.announce(text, step=step, what=what, completed_steps=completed)

    @guarded
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._actions.obey_plan(trainer)

    @guarded
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not on_fit_start: the restored global step is known from here on, and the sanity check is over.
        self._step = trainer.global_step
        self._begin_step(trainer)
        # First of all: whatever fails below on this rank alone, it has to take part in what the ranks do together.
        self._gather = StepGatherer(self.monitor, is_writer=trainer.is_global_zero)
        # What they leave on a rank is neither the whole gradient nor a DTensor that knows how to become it.
        self._sees_norm = not isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy)
        if not self._sees_norm:
            logger.warning(
                "%s hides the gradient norm: only loss and learning rate are watched", type(trainer.strategy).__name__
            )
        self._saved_step = None
        try:
            self._clipping.attach(trainer, pl_module)
            clips_by_norm = trainer.gradient_clip_val and trainer.gradient_clip_algorithm in (None, "norm")
            self.monitor.max_grad_norm = float(trainer.gradient_clip_val) if clips_by_norm else None
            self.monitor.loggers = [one for one in trainer.loggers if callable(getattr(one, "log_metrics", None))]
            self._gather.start(self._step, summary_writer=self._summary_writer(trainer))
            self._domains.attach(language_model_in(pl_module), self._step)
            went_back = functools.partial(self._went_back, trainer, pl_module)
            self._actions.begin(trainer, pl_module, self._gather, went_back, sees_norm=self._sees_norm)
        finally:
            # Whatever of this failed on this rank, the others are in the round before the first step.
            context = trainer.precision_plugin.forward_context
            self._probes.begin(self._step, _probed(trainer, pl_module), self._gather, context)

    @guarded
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._tell_probes_of_checkpoint(trainer, pl_module)
        self._domains.take_labels(batch)

    @guarded
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        # Gradients are complete here, unscaled and, in automatic optimization, not yet clipped.
        if self._gather is None:
            return
        self._clipping.is_unscaled.add(id(optimizer))
        self._loss_scale = loss_scale_of(trainer)
        if self._sees_norm and not self._clipping.tells(optimizer):
            norm = global_grad_norm(p for group in optimizer.param_groups for p in group["params"])
            if norm is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
                # A fused optimizer unscales inside step(): its gradients are still multiplied by the loss scale.
                norm = unscaled(norm, self._loss_scale)
            self._norms[id(optimizer)] = norm
            self._guard(optimizer, norm)
        elif (norm := self._clipping.norms.get(id(optimizer))) is not None:
            self._guard(optimizer, norm)  # clipped by hand, before it steps
        self._rates.append(self._actions.used_rate(largest_rate(optimizer)))

    def _guard(self, optimizer: Any, norm: Tensor | None) -> None:
        self._actions.guard(optimizer, norm, has_scaler=self._loss_scale is not None)

    @guarded
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._gather is None:
            return
        has_stepped = trainer.global_step != self._step
        values: dict[str, Any] = {"loss": None}
        try:
            self._window.add(outputs, batch, self._tokens(batch))
            if has_stepped:
                values = self._step_values(trainer, pl_module)
        finally:
            # push() is a collective: whatever failed above on this rank alone, the others wait for it here.
            if has_stepped:
                self._step = trainer.global_step
                self._gather.push(self._step, **values)
                self._begin_step(trainer)
                self._probes.after_step(self._step, _probed(trainer, pl_module))
                self._actions.after_step(self._step)
            elif self._window.micro_batches == _BLIND_AFTER_BATCHES:
                logger.warning(
                    "no optimizer step was seen in %d batches, so nothing is watched; in manual optimization step the "
                    "optimizers that self.optimizers() returns",
                    _BLIND_AFTER_BATCHES,
                )

    @guarded
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Probed later: other callbacks and the strategy are in the middle of saving it.
        self._saved_step = trainer.global_step
        if self._gather is not None:
            self._gather.checkpointed()

    @guarded
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell_probes_of_checkpoint(trainer, pl_module)
        self._probes.end(self._step, _probed(trainer, pl_module))

    @guarded
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Lightning calls neither on_train_end nor teardown after an exception.
        is_interrupt = isinstance(exception, KeyboardInterrupt | SystemExit)
        self._finish("interrupted" if is_interrupt else f"crashed: {type(exception).__name__}")

    @guarded
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._finish("finished", trainer)

    def _went_back(self, trainer: Trainer, pl_module: LightningModule, order: Order, step: int) -> None:
        """The trainer is where it was at ``step``."""
        self._step, self._saved_step = step, None
        if self._gather is not None:
            self._gather.rewind(order, step, summary_writer=self._summary_writer(trainer))
            self._probes.close()
            context = trainer.precision_plugin.forward_context
            self._probes.begin(step, _probed(trainer, pl_module), self._gather, context)

    def _tell_probes_of_checkpoint(self, trainer: Trainer, pl_module: LightningModule) -> None:
        saved, self._saved_step = self._saved_step, None
        # One that was saved in the middle of a step had other weights.
        if saved is not None and saved == self._step:
            self._probes.checkpointed(self._step, _probed(trainer, pl_module))

    def _tokens(self, batch: Any) -> Scalar:
        if self._count_tokens is None:
            return None
        try:
            return self._count_tokens(batch)
        except Exception:
            self._count_tokens = None
            logger.exception("count_tokens failed and is switched off; training goes on")
            return None

    def _step_values(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        window, is_automatic = self._window, pl_module.automatic_optimization
        loss = window.loss
        usual = trainer.accumulate_grad_batches
        norms = [norm for norm in {**self._norms, **self._clipping.norms}.values() if norm is not None]
        if is_automatic:
            self._clipping.learn()
            if loss is None:
                # Nothing was returned, so there was no backward pass; clipping nothing calls the norm 0.
                norms = []
        meta = self._actions.meta()
        if is_automatic and window.micro_batches < usual:
            meta |= {"micro_batches": window.micro_batches, "accumulate_grad_batches": usual}
        return {
            # Lightning divides each loss by the usual number even when the last window of an epoch has fewer.
            "loss": loss if loss is None or usual == 1 else in_float32(loss * usual),
            "grad_norm": _total(norms),
            "learning_rate": _largest(self._rates),
            "tokens": _once_per_batch(window.tokens, trainer),
            "weight": window.weight,
            "metrics": {
                "loss_scale": self._loss_scale,
                "epoch": trainer.current_epoch,
                **self._domains.metrics(),
                **self._actions.metrics(),
            },
            "meta": meta or None,
        }

    def _begin_step(self, trainer: Trainer) -> None:
        self._window = StepWindow(is_weighted=trainer.world_size > 1)
        self._norms.clear()
        self._rates.clear()
        self._clipping.forget()

    def _summary_writer(self, trainer: Trainer) -> Any:
        if trainer.is_global_zero and self.monitor.config.tensorboard.share_writer:
            for own in trainer.loggers:
                if isinstance(own, TensorBoardLogger):
                    # Reopens the file that the end of an earlier fit() closed, which the attribute does not.
                    return own.experiment._get_file_writer()
        return None

    def _finish(self, reason: str, trainer: Trainer | None = None) -> None:
        gather, self._gather = self._gather, None
        self._actions.close(trainer)
        self._probes.close()
        self._domains.detach()
        self._clipping.detach()
        if gather is not None:
            gather.finish(reason)


def _probed(trainer: Trainer, pl_module: LightningModule) -> Any:
    """What a forward pass has to be made with: the module itself, unless its wrapper holds parts of it."""
    return trainer.model if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy) else pl_module


def _total(norms: list[Tensor]) -> Tensor | None:
    """The norm over the parameters of all optimizers."""
    if len(norms) < 2:
        return norms[0] if norms else None
    parts = [full_scalar(norm).to(device=norms[0].device, dtype=torch.float32) for norm in norms]
    total: Tensor = torch.linalg.vector_norm(torch.stack(parts))
    return total


def _largest(rates: list[Scalar]) -> Scalar:
    tensors = [rate for rate in rates if isinstance(rate, Tensor)]
    # Comparing device tensors on the host would wait for the device.
    return tensors[0] if tensors else max((rate for rate in rates if rate is not None), default=None)


def _once_per_batch(tokens: Scalar, trainer: Trainer) -> Scalar:
    """Tokens, split between the ranks that work on the same batch under tensor parallelism."""
    if tokens is None or not isinstance(trainer.strategy, ModelParallelStrategy):
        return tokens
    batches: int = trainer.strategy.distributed_sampler_kwargs["num_replicas"]
    return tokens if batches == trainer.world_size else tokens * batches / trainer.world_size
