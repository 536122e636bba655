"""A model from disk, whole and never from the network."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import nn

from ..printable import shown_path
from .base import ProbeError
from .checkpoints import Checkpoint, Dtype
from .optional import imported, one_line


def checked_device(device: str | None) -> torch.device:
    """The device to measure on; None: an accelerator where there is one.

    Raises:
        ProbeError: no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:  # a torch without CUDA asserts
        seen = ", ".join(f"cuda:{number}" for number in range(torch.cuda.device_count()))
        here = ", ".join(filter(None, ("cpu", seen)))
        raise ProbeError(f"device {device!r} cannot be used ({one_line(problem, 100)}); here are {here}") from None
    if found.type == "meta":
        raise ProbeError("device 'meta' computes nothing; give cpu or cuda")
    return found


def load_model(checkpoint: Checkpoint, *, device: torch.device, dtype: Dtype = "auto") -> tuple[nn.Module, list[str]]:
    """The model, and notes on how it was read.

    Args:
        dtype: of its weights and of computing; auto: as they were saved, float32 for a .gguf file.

    Raises:
        ProbeError: it cannot be read, or weights are missing, in whose place there would be random numbers.
    """
    where = shown_path(checkpoint.path)
    if dtype not in get_args(Dtype):
        raise ProbeError(f"dtype={dtype!r}: give one of {', '.join(get_args(Dtype))}")
    transformers = imported("transformers", f"reading {where}")
    keywords: dict[str, Any] = {"dtype": dtype if dtype == "auto" else getattr(torch, dtype)}
    place = checkpoint.path
    if checkpoint.is_gguf:
        imported("gguf", f"reading {where}")
        imported("accelerate", f"reading {where}")
        place = checkpoint.path.parent
        # Its tensors are unpacked, and no dtype was theirs.
        keywords = {"gguf_file": checkpoint.path.name, "dtype": torch.float32 if dtype == "auto" else keywords["dtype"]}
    try:
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            str(place),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            # They are refused below, by name.
            ignore_mismatched_sizes=True,
            **keywords,
        )
    except Exception as problem:  # transformers, safetensors and pickle raise what they like
        raise ProbeError(f"{where} {_why(problem)}") from None
    _check_weights(where, found)
    try:
        model = model.to(device).eval()
    except RuntimeError as problem:
        raise ProbeError(f"{where} does not fit on {device}: {one_line(problem, 120)}") from None
    unused = sorted(found.get("unexpected_keys", ()))
    return model, [f"weights that its architecture has no use for: {_some(unused)}"] if unused else []


def _why(problem: Exception) -> str:
    """In a line what transformers says in twenty."""
    text = str(problem)
    if type(problem).__name__ == "SafetensorError":
        return f"cannot be loaded, its weights are damaged or cut off: {one_line(problem)}"
    if "trust_remote_code" in text:
        return "needs program code of its own, and such code is never run from here"
    if "Unrecognized configuration class" in text:
        return "is no causal language model that transformers knows"
    return f"cannot be loaded: {one_line(problem)}"


def _check_weights(where: str, found: dict[str, Any]) -> None:
    missing = sorted(found.get("missing_keys", ()))
    # Names, or names with both shapes.
    wrong = sorted(str(one if isinstance(one, str) else one[0]) for one in found.get("mismatched_keys", ()))
    for names, what in ((missing, "lacks"), (wrong, "has in another shape than its config.json says")):
        if names:
            raise ProbeError(f"{where} {what} {len(names)} of the model's weights: {_some(names)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
