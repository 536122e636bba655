"""Evaluate a model in the middle of its training and leave no trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def neutral(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients inside; outside, training goes on bitwise as if nothing had happened.

    Kept as they were: training mode of each module by itself, the random states of torch on every device, numpy and
    Python, all buffers, and the gradients that parameters hold. Nothing is compiled inside: other shapes would fill the
    caches of the training's graphs.

    Args:
        model: a torch module; of anything else nothing but the random states can be kept.
    """
    if not isinstance(model, nn.Module):
        model = nn.Module()
    # inference_mode would be quicker, but the first forward pass of an FSDP2 model in it makes later training fail.
    with ExitStack() as stack:
        stack.callback(_restore_modes, [(module, module.training) for module in model.modules()])
        stack.callback(_restore_buffers, _kept_buffers(model))
        stack.callback(_restore_random, _random_states())
        stack.callback(_restore_gradients, _hidden_gradients(model))
        for module in model.modules():
            # Not by eval(): some layers merge their adapters into the weights when they are told.
            module.training = False
        stack.enter_context(torch.no_grad())
        stack.enter_context(_eagerly())
        yield


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, was_training in modes:
        module.training = was_training


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state()}
    states.update(numpy=np.random.get_state(), python=random.getstate())
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore_random(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


# A module, the name of its buffer, the buffer, how often it had been written to, and what it held; None where there is
# a place for a buffer that the first forward pass will make.
_Kept = tuple[nn.Module, str, Tensor | None, int, Tensor | None]


def _kept_buffers(model: nn.Module) -> list[_Kept]:
    return [
        (module, name, buffer, 0, None) if buffer is None else (module, name, buffer, buffer._version, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]


def _restore_buffers(kept: list[_Kept]) -> None:
    """Some models count in their forward pass, in evaluation too: which expert got how many tokens, for one."""
    with torch.no_grad():
        for module, name, buffer, version, value in kept:
            module._buffers[name] = buffer
            if buffer is not None and value is not None and buffer._version != version:
                buffer.copy_(value)


def _hidden_gradients(model: nn.Module) -> list[tuple[nn.Parameter, Tensor | None]]:
    """What parameters hold; from here on nothing, so that a backward pass of a probe cannot add to it."""
    held = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, grad in held:
        if grad is not None:
            parameter.grad = None
    return held


def _restore_gradients(held: list[tuple[nn.Parameter, Tensor | None]]) -> None:
    for parameter, grad in held:
        if parameter.grad is not grad:
            parameter.grad = grad


@contextmanager
def _eagerly() -> Iterator[None]:
    # Where nobody has loaded the compiler nothing is compiled, and to load it takes seconds.
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
