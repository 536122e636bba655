"""A GPT over bytes, small enough for a CPU, in which every part that makes training stable can be left out."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recipes import VOCABULARY, Shape


class TinyGPT(nn.Module):
    """Decoder-only transformer with learned positions.

    ``largest_attention_logit`` holds the largest absolute attention logit of the newest forward pass.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embedding = nn.Embedding(VOCABULARY, shape.width)
        self.position_embedding = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.norm = _norm(shape) if shape.norm == "pre" else nn.Identity()
        self.head = nn.Linear(shape.width, VOCABULARY, bias=False)
        self.apply(_initialise)
        for block in self.blocks:
            # Every block adds two terms to the residual stream; its variance must not grow with depth.
            for part in ("attention.out", "mlp.2"):
                nn.init.normal_(block.get_submodule(part).weight, std=0.02 / math.sqrt(2 * shape.layers))  # type: ignore[arg-type]
        if shape.tied_head:
            self.head.weight = self.token_embedding.weight

    def forward(self, input_ids: Tensor, targets: Tensor) -> Tensor:
        """Loss in nats of each sequence, averaged over its positions; both arguments have shape (batch, length)."""
        positions = torch.arange(input_ids.shape[1])
        x = self.token_embedding(input_ids) + self.position_embedding(positions)
        for block in self.blocks:
            x = block(x)
        logits = _stored(self.head(_stored(self.norm(x), self.shape.half)), self.shape.half)
        nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        return nats.view(targets.shape).mean(1)

    @property
    def largest_attention_logit(self) -> float:
        return max(float(block.attention.largest_logit) for block in self.blocks)  # type: ignore[union-attr,arg-type]


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm = _norm(shape)
        self.attention = _Attention(shape)
        self.mlp_norm = _norm(shape)
        self.mlp = nn.Sequential(
            nn.Linear(shape.width, 4 * shape.width), nn.GELU(), nn.Linear(4 * shape.width, shape.width)
        )

    def forward(self, x: Tensor) -> Tensor:
        half = self.shape.half
        if self.shape.norm == "post":
            x = _stored(self.attention_norm(x + self.attention(x)), half)
            return _stored(self.mlp_norm(x + self.mlp(x)), half)
        x = _stored(x + self.attention(_stored(self.attention_norm(x), half)), half)
        return _stored(x + self.mlp(_stored(self.mlp_norm(x), half)), half)


class _Attention(nn.Module):
    """Causal attention, written out so that its logits can be looked at."""

    hidden: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        head_width = shape.width // shape.heads
        self.query_norm = nn.LayerNorm(head_width, bias=False) if shape.qk_norm else nn.Identity()
        self.key_norm = nn.LayerNorm(head_width, bias=False) if shape.qk_norm else nn.Identity()
        self.register_buffer("hidden", torch.full((shape.context, shape.context), -math.inf).triu(1), persistent=False)
        self.largest_logit = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads, half = self.shape.heads, self.shape.half
        q, k, v = _stored(self.qkv(x), half).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        q, k = self.query_norm(q), self.key_norm(k)
        logits = _stored(q @ k.transpose(-2, -1) / math.sqrt(width // heads), half)
        if self.shape.watch_attention:
            self.largest_logit = logits.detach().abs().amax()
        mixed = (logits + self.hidden[:length, :length]).softmax(-1) @ v
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return result


class _HalfStorage(torch.autograd.Function):
    """Rounds a value on its way forward and its gradient on its way back to 16 bits, overflowing to Inf above 65504."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        return x.half().float()

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return gradient.half().float()


def _stored(x: Tensor, half: bool) -> Tensor:
    """What a kernel that multiplies in 16 bits and adds up in 32 leaves in memory."""
    if not half:
        return x
    result: Tensor = _HalfStorage.apply(x)  # type: ignore[no-untyped-call]
    return result


def _norm(shape: Shape) -> nn.Module:
    return nn.Identity() if shape.norm == "none" else nn.LayerNorm(shape.width)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
