"""The demo's probe: what the model makes of code and of documentation that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..probes.perplexity import PerplexityProbe
from ..probes.tokenizers import Tokenizer
from .recipe import CONTEXT
from .text import DOMAINS, SEPARATOR, Domain

SCHEDULE = {"every_steps": 100, "early": False}

_DOCUMENTS, _BYTES = 16, 1200  # of each domain, and of each document: a round takes half a second


def held_out_probe(text: dict[str, Domain], forward: Callable[[Any, Tensor], Any] | None = None) -> PerplexityProbe:
    """Bits per byte of both domains; the model reads bytes, so its tokenizer is a matter of one line."""
    tokenizer = Tokenizer(
        "bytes",
        lambda texts: [list(one.encode()) for one in texts],
        decode=lambda ids: bytes(ids).decode(errors="replace"),
        prefix_id=SEPARATOR[0],
    )
    domains = {name: _middles(text[name]) for name in DOMAINS}
    return PerplexityProbe(domains, tokenizer, context_length=CONTEXT, forward=forward)


def _middles(domain: Domain) -> list[str]:
    """Of documents spread evenly over those kept apart; their beginnings, licences and summaries, are all alike."""
    documents = [content for content in domain.held_out.values() if len(content) >= 2 * _BYTES]
    chosen = documents[:: max(1, len(documents) // _DOCUMENTS)][:_DOCUMENTS]
    return [content[len(content) // 2 :][:_BYTES].decode(errors="ignore") for content in chosen]
