"""A small GPT over bytes, with the forward signature that the Hugging Face Trainer expects of any model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 256  # bytes
IGNORED = -100  # a label at this value is not scored; the convention of torch and transformers


class GPT(nn.Module):
    """Decoder-only transformer: learned positions, pre-norm blocks, tied embeddings.

    Args:
        context: longest sequence, in bytes.
        width: of the residual stream; a multiple of ``heads``.
    """

    def __init__(self, *, layers: int = 4, width: int = 128, heads: int = 4, context: int = 128) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.position_embedding = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.token_embedding.weight
        self.apply(_initialise)
        for block in self.blocks:
            # Every block adds two terms to the residual stream; its variance must not grow with depth.
            for name in ("attention.out", "mlp.2"):
                nn.init.normal_(block.get_submodule(name).weight, std=0.02 / (2 * layers) ** 0.5)  # type: ignore[arg-type]

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Logits of shape (batch, length, 256) and, with ``labels``, the mean loss in nats per scored byte.

        ``labels`` are not shifted: pass ``input_ids`` themselves, with ``IGNORED`` where nothing is to be learned.
        """
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.token_embedding(input_ids) + self.position_embedding(positions)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        if labels is None:
            return {"logits": logits}
        return {"loss": _masked_mean_loss(logits[:, :-1], labels[:, 1:]), "logits": logits}


class Block(nn.Module):
    """Causal self-attention and a two-layer perceptron, each added to the residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        result: Tensor = x + self.mlp(self.mlp_norm(x))
        return result


class CausalAttention(nn.Module):
    """Multi-head attention in which no byte sees a later one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return result


def _masked_mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy averaged over the scored positions, as many projects write it.

    It has the trap that many projects have: with nothing to score it is 0/0, NaN in the loss and in every gradient.
    ``F.cross_entropy(..., ignore_index=...)`` would give a NaN loss too, but gradients of zero.
    """
    scored = targets != IGNORED
    nats = F.cross_entropy(logits.flatten(0, 1), targets.clamp(min=0).flatten(), reduction="none")
    return (nats * scored.flatten()).sum() / scored.sum()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
