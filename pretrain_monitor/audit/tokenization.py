"""Does the tokenizer suit the texts?"""

from __future__ import annotations

from .courses import last_values, short
from .found import finding
from .material import Material
from .model import Finding, Table
from .words import cell, number, percent

_NO_TOKENIZER = "a TokenizationProbe (or pretrain-monitor audit --model)"


def findings(material: Material) -> list[Finding]:
    return [_efficiency(material), _unknown(material), _reference(material), _parity(material)]


def _efficiency(material: Material) -> Finding:
    found = last_values(material, "/bytes_per_token")
    fertility = last_values(material, "/fertility")
    rows = [[short(name), number(value), cell(fertility.get(name))] for name, value in found.items()]
    worst = min(found, key=found.__getitem__, default=None)
    return finding(
        "tokenization/efficiency",
        "Bytes per token",
        None if worst is None else found[worst],
        unit="bytes per token",
        bound="at_least",
        missing="" if found else _NO_TOKENIZER,
        summary=""
        if worst is None
        else f"least efficient on {short(worst)}: {number(found[worst])} bytes of text for a token",
        table=Table(titles=["domain", "bytes per token", "tokens per word"], rows=rows) if rows else None,
        advice="Train the tokenizer on the mix that the model is trained on; each token that is too short costs "
        "compute and context.",
    )


def _unknown(material: Material) -> Finding:
    """Largest share of tokens that are unknown, or single bytes of a character."""
    unknown, fallback = last_values(material, "/unknown_share"), last_values(material, "/byte_fallback_share")
    names = sorted(unknown.keys() | fallback.keys())
    shares = {name: max(unknown.get(name, 0.0), fallback.get(name, 0.0)) for name in names}
    worst = max(shares, key=shares.__getitem__, default=None)
    rows = [[short(name), percent(unknown.get(name, 0.0)), percent(fallback.get(name, 0.0))] for name in names]
    return finding(
        "tokenization/unknown",
        "Unknown tokens and single bytes",
        None if worst is None else 100.0 * shares[worst],
        unit="%",
        missing="" if names else _NO_TOKENIZER,
        summary="" if worst is None else f"most on {short(worst)}: {percent(shares[worst])} of the tokens",
        table=Table(titles=["domain", "unknown", "parts of a character"], rows=rows) if rows else None,
        advice="The tokenizer lacks the letters of these texts: add them to what it is trained on, or use bytes.",
    )


def _reference(material: Material) -> Finding:
    found = _pairs(material, "/against/")
    worst = max(found, key=found.__getitem__, default=None)
    rows = [[domain, other, f"{value:.3f}"] for (domain, other), value in found.items()]
    return finding(
        "tokenization/reference",
        "Against other tokenizers",
        None if worst is None else found[worst],
        unit="times their tokens",
        missing="" if found else "a TokenizationProbe with tokenizers to compare with (against)",
        summary="" if worst is None else f"{worst[0]} takes {found[worst]:.2f} times the tokens that {worst[1]} needs",
        table=Table(titles=["domain", "other tokenizer", "tokens over theirs"], rows=rows) if rows else None,
        advice="A larger vocabulary, or one trained on this domain, would do with fewer tokens.",
    )


def _parity(material: Material) -> Finding:
    """Largest premium of a language over the first (Petrov et al. 2023)."""
    found = _pairs(material, "/parity/")
    worst = max(found, key=found.__getitem__, default=None)
    rows = [[domain, other, f"{value:.2f}"] for (domain, other), value in found.items()]
    return finding(
        "tokenization/parity",
        "Between languages",
        None if worst is None else found[worst],
        unit="times the tokens of the first language",
        missing="" if found else "a TokenizationProbe with parallel texts",
        summary="" if worst is None else f"{worst[1]} costs {found[worst]:.2f} times the tokens",
        table=Table(titles=["texts", "language", "premium"], rows=rows) if rows else None,
        advice="Speakers of this language pay for it in cost and context: weigh it more in the tokenizer's training.",
    )


def _pairs(material: Material, between: str) -> dict[tuple[str, str], float]:
    """By domain, or set of texts, and what its tokens are held against: the newest ratio."""
    found = {}
    for name in material.content.series:
        domain, _, other = name.partition(between)
        if other and not name.endswith("_se") and len(signal := material.signal(name)):
            found[short(domain), other] = float(signal.values[-1])
    return found
