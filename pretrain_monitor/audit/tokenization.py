"""Does the tokenizer suit the texts?"""

from __future__ import annotations

from .courses import last_values
from .material import Material
from .model import Area, Finding, Table
from .words import cell, number, percent

_NO_TOKENIZER = "a TokenizationProbe (or pretrain-monitor audit --model)"


def findings(material: Material) -> list[Finding]:
    return [_efficiency(material), _unknown(material), _reference(material), _parity(material)]


def _efficiency(material: Material) -> Finding:
    found = last_values(material, "/bytes_per_token")
    fertility = last_values(material, "/fertility")
    rows = [[_short(name), number(value), cell(fertility.get(name))] for name, value in found.items()]
    worst = min(found, key=found.__getitem__, default=None)
    return _finding(
        "efficiency",
        "Bytes per token",
        None if worst is None else found[worst],
        unit="bytes per token",
        bound="at_least",
        missing="" if found else _NO_TOKENIZER,
        summary=""
        if worst is None
        else f"least efficient on {_short(worst)}: {number(found[worst])} bytes of text for a token",
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
    rows = [[_short(name), percent(unknown.get(name, 0.0)), percent(fallback.get(name, 0.0))] for name in names]
    return _finding(
        "unknown",
        "Unknown tokens and single bytes",
        None if worst is None else 100.0 * shares[worst],
        unit="%",
        missing="" if names else _NO_TOKENIZER,
        summary="" if worst is None else f"most on {_short(worst)}: {percent(shares[worst])} of the tokens",
        table=Table(titles=["domain", "unknown", "parts of a character"], rows=rows) if rows else None,
        advice="The tokenizer lacks the letters of these texts: add them to what it is trained on, or use bytes.",
    )


def _reference(material: Material) -> Finding:
    found = {
        name: float(signal.values[-1])
        for name in material.content.series
        if "/against/" in name and not name.endswith("_se") and len(signal := material.signal(name))
    }
    worst = max(found, key=found.__getitem__, default=None)
    rows = [
        [_short(name.partition("/against/")[0]), name.partition("/against/")[2], f"{value:.3f}"]
        for name, value in found.items()
    ]
    return _finding(
        "reference",
        "Against other tokenizers",
        None if worst is None else found[worst],
        unit="times their tokens",
        missing="" if found else "a TokenizationProbe with tokenizers to compare with (against)",
        summary=""
        if worst is None
        else f"{_short(worst.partition('/against/')[0])} takes {found[worst]:.2f} times the tokens that "
        f"{worst.partition('/against/')[2]} needs",
        table=Table(titles=["domain", "other tokenizer", "tokens over theirs"], rows=rows) if rows else None,
        advice="A larger vocabulary, or one trained on this domain, would do with fewer tokens.",
    )


def _parity(material: Material) -> Finding:
    """Largest premium of a language over the first (Petrov et al. 2023)."""
    found = {
        name: float(signal.values[-1])
        for name in material.content.series
        if "/parity/" in name and not name.endswith("_se") and len(signal := material.signal(name))
    }
    worst = max(found, key=found.__getitem__, default=None)
    rows = [
        [_short(name.partition("/parity/")[0]), name.partition("/parity/")[2], f"{value:.2f}"]
        for name, value in found.items()
    ]
    return _finding(
        "parity",
        "Between languages",
        None if worst is None else found[worst],
        unit="times the tokens of the first language",
        missing="" if found else "a TokenizationProbe with parallel texts",
        summary="" if worst is None else f"{worst.partition('/parity/')[2]} costs {found[worst]:.2f} times the tokens",
        table=Table(titles=["texts", "language", "premium"], rows=rows) if rows else None,
        advice="Speakers of this language pay for it in cost and context: weigh it more in the tokenizer's training.",
    )


def _pair(name: str, between: str, value: float) -> list[str]:
    domain, _, other = name.partition(between)
    return [_short(domain), other, f"{value:.2f}"]


def _short(name: str) -> str:
    return name.partition("/")[2] or name


def _finding(check: str, title: str, value: float | None, **rest: object) -> Finding:
    return Finding.model_validate(
        {"check": f"tokenization/{check}", "area": Area.TOKENIZATION, "title": title, "value": value, **rest}
    )
