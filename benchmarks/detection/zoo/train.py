"""One run of the zoo: from a recipe to its telemetry."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from .batches import batch
from .model import TinyGPT
from .recipes import Recipe, Settings
from .storage import Telemetry

_GROWTH_STEPS = 100  # clean steps after which a dynamic scaler doubles its scale; 2,000 in longer runs


def train(recipe: Recipe) -> Telemetry:
    """Train from the first step to the last, or to the 20th after the loss stopped being finite.

    One thread and fixed seeds: the same numbers every time on one machine and one version of torch. Another CPU may add
    up in another order, which changes the last digits, and whatever a chaotic run makes of them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _Run(recipe).train()
    finally:
        torch.set_num_threads(threads)


class _Run:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        torch.manual_seed(recipe.seed)
        self.model = TinyGPT(recipe.shape)
        self.parameters = list(self.model.parameters())
        self.optimizer = _optimizer(self.model, recipe.settings)
        self.scale = recipe.settings.loss_scale
        self.clean_steps = 0

    def train(self) -> Telemetry:
        rows: list[dict[str, float]] = []
        for step in range(1, self.recipe.steps + 1):
            rows.append(self._step(step))
            if len(rows) >= 20 and not any(math.isfinite(row["loss"]) for row in rows[-20:]):
                break  # nothing happens any more in a run whose weights are NaN
        names = list(rows[0])
        columns = {name: np.array([row[name] for row in rows]) for name in names}
        return Telemetry(np.arange(1, len(rows) + 1), columns)

    def _step(self, step: int) -> dict[str, float]:
        settings = self.recipe.at(step)
        if settings.loss_scale != self.recipe.at(max(1, step - 1)).loss_scale:
            self.scale = settings.loss_scale
        self._set(settings, self.recipe.learning_rate(step))
        loss = self._backward(step, settings)
        grad_norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self._gradients()))))
        before = [parameter.detach().clone() for parameter in self.parameters]
        scale = self.scale
        if not self._is_skipped(settings, grad_norm):
            if settings.clip_norm is not None and not grad_norm <= settings.clip_norm:
                torch._foreach_mul_(self._gradients(), settings.clip_norm / (grad_norm + 1e-6))
            self.optimizer.step()
        with torch.no_grad():
            update = _norm(torch._foreach_sub([p.detach() for p in self.parameters], before))
            param_norm = _norm([p.detach() for p in self.parameters])
        count = sum(p.numel() for p in self.parameters)
        row = {
            "loss": loss,
            "grad_norm": grad_norm,
            "learning_rate": self.recipe.learning_rate(step),
            "update_rms": update / math.sqrt(count),
            "param_norm": param_norm,
        }
        if any({"batch_size", "sequence_length"} & set(change.settings) for change in self.recipe.changes):
            row |= {"batch_size": settings.batch_size, "sequence_length": settings.sequence_length}
        if self.recipe.shape.watch_attention:
            row["attention_logit_max"] = self.model.largest_attention_logit
        if scale is not None:
            row["loss_scale"] = scale
        return row

    def _set(self, settings: Settings, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (settings.attention_rate_factor if group["is_attention"] else 1.0)
            if settings.optimizer == "adamw":
                group["betas"] = (settings.beta1, settings.beta2)
                group["eps"] = settings.epsilon
                group["weight_decay"] = settings.weight_decay if group["decays"] else 0.0
        if settings.forget_variance:
            for state in self.optimizer.state.values():
                state["exp_avg_sq"].zero_()

    def _backward(self, step: int, settings: Settings) -> float:
        """Fill the gradients; return the mean loss over the batch, whatever weights the gradients have."""
        inputs, targets = map(torch.from_numpy, batch(self.recipe, step))
        # Averaging gradients of ranks is linear: weighting the rows of a rank gives the very gradient of its weight.
        weights = torch.tensor(settings.rank_weights).repeat_interleave(len(inputs) // len(settings.rank_weights))
        self.optimizer.zero_grad(set_to_none=False)
        losses: list[Tensor] = []
        parts = settings.microbatches
        scale = 1.0 if self.scale is None else self.scale
        for part in range(parts):
            rows = slice(part * len(inputs) // parts, (part + 1) * len(inputs) // parts)
            row_losses = self.model(inputs[rows], targets[rows])
            ((row_losses * weights[rows]).mean() / parts * scale).backward()
            losses.append(row_losses.detach())
        if scale != 1.0:
            torch._foreach_mul_(self._gradients(), 1 / scale)
        return float(torch.cat(losses).mean())

    def _is_skipped(self, settings: Settings, grad_norm: float) -> bool:
        if settings.scaler == "static" or self.scale is None:
            return False
        if not math.isfinite(grad_norm):
            self.scale, self.clean_steps = self.scale / 2, 0
            return True
        self.clean_steps += 1
        if self.clean_steps % _GROWTH_STEPS == 0:
            self.scale *= 2
        return False

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((parameter.ndim > 1, "qkv" in name), []).append(parameter)
    named = [
        {"params": parameters, "decays": decays, "is_attention": is_attention}
        for (decays, is_attention), parameters in groups.items()
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(named, lr=settings.rate, momentum=settings.beta1)
    return torch.optim.AdamW(named, lr=settings.rate, fused=True)


def _norm(tensors: list[Tensor] | tuple[Tensor, ...]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors)))))
