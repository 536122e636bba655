"""What the examples share: text, a small GPT that reads bytes, a schedule and the two options."""

import argparse
import math
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT = 64  # bytes
VOCABULARY = 256


def arguments(name: str) -> argparse.Namespace:
    """The command line of an example."""
    parser = argparse.ArgumentParser(description=f"{name}: a small language model, watched by pretrain_monitor")
    parser.add_argument("--steps", type=int, default=400, help="optimizer steps")
    parser.add_argument("--run-dir", default=f"runs/{name}", help="where the run log and the event files go")
    return parser.parse_args()


def library_text(size: int = 2_000_000) -> Tensor:
    """The first bytes of the Python standard library's own sources, as one row of tokens."""
    text = bytearray()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text += path.read_bytes()
    return torch.tensor(text[:size]).long()


class Windows(torch.utils.data.Dataset[Tensor]):
    """Windows of ``CONTEXT + 1`` bytes, cut from a text without overlap."""

    def __init__(self, text: Tensor) -> None:
        self.rows = text[: len(text) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class TinyGPT(nn.Module):
    """A decoder-only transformer; called with rows of ``CONTEXT + 1`` tokens it returns their mean loss in nats."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, rows: Tensor) -> Tensor:
        inputs, targets = rows[:, :-1], rows[:, 1:]
        x = self.token(inputs) + self.position.weight
        return F.cross_entropy(self.head(self.norm(self.blocks(x))).flatten(0, 1), targets.flatten())


def warmup_cosine(steps: int, warmup: int = 20) -> Callable[[int], float]:
    """Factor on the learning rate: up in ``warmup`` steps, then down along a cosine to a tenth."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.55 + 0.45 * math.cos(math.pi * min((step - warmup) / max(steps - warmup, 1), 1.0))

    return factor
