"""The gradient norm that Lightning's own clipping computes, so that nobody has to compute it twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from .gather import Scalar

logger = logging.getLogger(__name__)


class ClippingTap:
    """Keeps the gradient norm that Lightning's clipping computes and throws away.

    Args:
        on_norm: told of an optimizer and the norm of its gradients, where these have been clipped and are unscaled.

    Automatic optimization clips after ``on_before_optimizer_step``, manual optimization before it.
    """

    def __init__(self, on_norm: Callable[[Any, Tensor], None] = lambda optimizer, norm: None) -> None:
        self._on_norm = on_norm
        self.norms: dict[int, Tensor] = {}  # of this step, by id of the optimizer
        self.is_unscaled: set[int] = set()  # optimizers past on_before_optimizer_step, whose gradients hold no scale
        self._plugin: Any = None
        self._is_expected = False
        self._was_missed = False
        self._has_failed = False

    def attach(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.detach()
        plugin = trainer.precision_plugin
        self._is_expected = self._was_missed = False
        if type(plugin).clip_grad_by_norm is not Precision.clip_grad_by_norm or "clip_grad_by_norm" in vars(plugin):
            return  # another kind of clipping, whose norm nobody can know
        self._plugin = plugin
        clips_by_norm = trainer.gradient_clip_val and trainer.gradient_clip_algorithm in (None, "norm")
        has_own_clipping = (
            type(pl_module).configure_gradient_clipping is not LightningModule.configure_gradient_clipping
        )
        self._is_expected = bool(clips_by_norm and pl_module.automatic_optimization and not has_own_clipping)

        def clip_grad_by_norm(optimizer: Any, clip_val: float = 0.0) -> None:
            # The two lines of the method replaced; it drops the result.
            norm = torch.nn.utils.clip_grad_norm_(plugin.main_params(optimizer), clip_val)
            try:
                self._keep(norm, optimizer, trainer)
            except Exception:
                if not self._has_failed:
                    self._has_failed = True
                    logger.exception("the monitor failed to keep a gradient norm; training goes on")

        plugin.clip_grad_by_norm = clip_grad_by_norm

    def _keep(self, norm: Tensor, optimizer: Any, trainer: Trainer) -> None:
        optimizer = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        key = id(optimizer)
        # Whoever clips in manual optimization clips scaled gradients: Lightning unscales inside the step.
        is_last = key in self.is_unscaled
        self.norms[key] = norm if is_last else unscaled(norm, loss_scale_of(trainer))
        if is_last:
            self._on_norm(optimizer, norm)

    def detach(self) -> None:
        if self._plugin is not None:
            vars(self._plugin).pop("clip_grad_by_norm", None)
            self._plugin = None

    def tells(self, optimizer: Any) -> bool:
        """Whether the norm of this optimizer is known already or comes with the clipping that follows."""
        return self._is_expected or id(optimizer) in self.norms

    def learn(self) -> None:
        """After a step of automatic optimization: does a module with a clipping of its own use Lightning's?"""
        if not self.norms:
            # One step without a norm is enough: from now on it is computed, clipping or not.
            self._was_missed = self._was_missed or self._is_expected
        self._is_expected = bool(self.norms) and not self._was_missed

    def forget(self) -> None:
        self.norms.clear()
        self.is_unscaled.clear()


def loss_scale_of(trainer: Trainer) -> Tensor | None:
    """The scale of this step on its device; None without a gradient scaler."""
    # get_scale() would wait for the device, and update() changes this tensor in place.
    scale: Tensor | None = getattr(getattr(trainer.precision_plugin, "scaler", None), "_scale", None)
    return None if scale is None else scale.clone()


def unscaled(norm: Tensor, loss_scale: Scalar) -> Tensor:
    return norm if loss_scale is None else norm / loss_scale
