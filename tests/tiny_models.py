"""Models small enough to know what they must answer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def letters(text: str) -> list[int]:
    """A tokenizer of bytes."""
    return list(text.encode())


class Uniform(nn.Module):
    """Knows nothing: every token is as likely as any other."""

    def __init__(self, vocabulary: int = 256) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.zeros(1, 1, self.vocabulary).expand(*input_ids.shape, -1)


class Successor(nn.Module):
    """Gives odds of ``weight`` to 1 to the next number, whatever came before."""

    def __init__(self, vocabulary: int = 300, weight: float = 9.0) -> None:
        super().__init__()
        self.vocabulary, self.weight = vocabulary, weight

    def forward(self, input_ids: Tensor) -> Tensor:
        logits = torch.zeros(*input_ids.shape, self.vocabulary)
        nxt = ((input_ids + 1) % self.vocabulary).unsqueeze(-1)
        return logits.scatter(-1, nxt, math.log(self.weight))


class TinyGPT(nn.Module):
    """One attention layer with dropout, in which each position really depends on all before it."""

    def __init__(self, vocabulary: int = 256, width: int = 32, context: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.max_seq_len = context
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.block = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout, batch_first=True, norm_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, input_ids: Tensor) -> Tensor:
        length = input_ids.shape[1]
        x = self.tokens(input_ids) + self.places(torch.arange(length, device=input_ids.device))
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=input_ids.device)
        logits: Tensor = self.head(self.block(x, src_mask=mask, is_causal=True))
        return logits


def tiny_llama(**settings):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **heads, **settings}))


def tiny_gpt2(**settings):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(**{"vocab_size": 256, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **settings})
    )


def direct_nats(model: nn.Module, ids: list[int], first: int = 1) -> float:
    """Cost of ``ids`` from number ``first`` on, by the plainest route there is: one row, torch's own log_softmax."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        output = model(torch.tensor([ids[:-1]]))
        logits = getattr(output, "logits", output)[0].double()
    model.train(was_training)
    logs = torch.log_softmax(logits, -1)
    return -sum(float(logs[place - 1, ids[place]]) for place in range(first, len(ids)))
