"""Probes that behave and probes that do not, for trainings of all kinds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pretrain_monitor.probes import ChoiceProbe, PerplexityProbe
from pretrain_monitor.probes.tokenizers import Tokenizer

# A model that is probed here knows 64 tokens and reads 16.
TOKENIZER = Tokenizer("letters", lambda texts: [[byte % 64 for byte in text.encode()] for text in texts], prefix_id=0)
LENGTH = 16
DOMAINS = {
    "even": ["some text", "another one", "words, and then more of them than fit into a row", "x"],
    "odd": ["the last of these", "has a few", "letters more than the others have, and is cut"],
}
QUESTIONS = [
    {"context": "ab", "choices": ["cd", "ef", "g"], "answer": 0},
    {"context": "a longer one", "choices": [" yes", " no"], "answer": 1},
    {"context": "xyz", "choices": ["1", "2", "3", "4"], "answer": 2},
]
# All rounds, however long they take beside steps as short as these.
EVERY_10 = {"every_steps": 10, "budget_percent": 1e6}


def perplexity(domains: dict[str, list[str]] | None = None, **settings: Any) -> PerplexityProbe:
    settings = {"context_length": LENGTH, "batch_tokens": 48, **settings}
    return PerplexityProbe(DOMAINS if domains is None else domains, TOKENIZER, **settings)


def choices(**settings: Any) -> ChoiceProbe:
    return ChoiceProbe({"quiz": QUESTIONS}, TOKENIZER, **{"context_length": LENGTH, "batch_tokens": 48, **settings})


class Nasty:
    """Does to a model and its surroundings what a careless probe might do, gradients included."""

    name = "nasty"

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        torch.manual_seed(1), torch.rand(5), np.random.rand(5), random.random()
        model.train()
        torch.set_grad_enabled(True)
        loss = sum(
            (parameter.float() ** 2).sum() for parameter in model.parameters() if type(parameter.data) is torch.Tensor
        )
        if isinstance(loss, torch.Tensor):
            loss.backward()
        return {"value": random.random()}


class Noting:
    """Notes the weights at each call."""

    def __init__(self, name: str = "noting") -> None:
        self.name = name
        self.weights: list[str] = []

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        self.weights.append(weights(model))
        return {"number": float(len(self.weights))}


def weights(model: torch.nn.Module | Mapping[str, torch.Tensor]) -> str:
    """Digest of all weights, each whole."""
    digest = hashlib.sha256()
    state = model.state_dict() if isinstance(model, torch.nn.Module) else model
    for name, tensor in sorted(state.items()):
        whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        digest.update(name.encode() + whole.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def randomness() -> list[float]:
    """What the random generators give next."""
    return [torch.rand(1).item(), float(np.random.rand()), random.random()]
