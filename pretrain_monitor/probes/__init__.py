"""What the model has learned, measured while it trains and without touching the training.

Importing this package loads no torch; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Probe, ProbeError, ProbeResult, Scores
    from .choice import ChoiceProbe
    from .fact_probe import FactProbe
    from .facts import Fact, invent_facts, save_facts, training_texts
    from .perplexity import PerplexityProbe
    from .probe_file import load_probes
    from .schedule import Scheduled
    from .tokenization import TokenizationProbe

_HOME = {
    "ChoiceProbe": "choice",
    "Fact": "facts",
    "FactProbe": "fact_probe",
    "PerplexityProbe": "perplexity",
    "Probe": "base",
    "ProbeError": "base",
    "ProbeResult": "base",
    "Scheduled": "schedule",
    "Scores": "base",
    "TokenizationProbe": "tokenization",
    "invent_facts": "facts",
    "load_probes": "probe_file",
    "save_facts": "facts",
    "training_texts": "facts",
}

__all__ = [
    "ChoiceProbe",
    "Fact",
    "FactProbe",
    "PerplexityProbe",
    "Probe",
    "ProbeError",
    "ProbeResult",
    "Scheduled",
    "Scores",
    "TokenizationProbe",
    "invent_facts",
    "load_probes",
    "save_facts",
    "training_texts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pretrain_monitor.probes' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
