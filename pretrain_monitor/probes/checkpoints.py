"""Models on disk: which there are, in which order they were trained, and where their tokenizers are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from ..printable import shown_path
from .base import ProbeError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

_STEP = re.compile(r"(?:checkpoint|step|iter|iteration)[-_=]?(\d{1,12})$")
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tokenizer_config.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One model on disk.

    Args:
        step: optimizer steps it was trained for; None if nothing says so.
        problem: why it cannot be a model, in a line; None if nothing speaks against it.
    """

    path: Path
    step: int | None = None
    problem: str | None = None

    @property
    def is_gguf(self) -> bool:
        return self.path.suffix == ".gguf"

    @property
    def tokenizer(self) -> Path | None:
        """Where its tokenizer is: in it, or above it, where trainers put the only one of a run. None if nowhere."""
        if self.is_gguf:
            return self.path
        return next((folder for folder in (self.path, self.path.resolve().parent) if _has_tokenizer(folder)), None)


def find_checkpoints(given: Iterable[str | Path]) -> list[Checkpoint]:
    """The models at some paths: files and directories of models, or directories with checkpoints in them.

    Checkpoints side by side in one directory come in the order of their steps, for a shell names ``checkpoint-1000``
    before ``checkpoint-200``; all others come as they were given. What is no model is there with its problem.
    """
    found = [checkpoint for path in given for checkpoint in _at(Path(path).expanduser())]
    ordered: list[Checkpoint] = []
    for _, siblings in groupby(found, key=lambda one: (one.path.resolve().parent, one.step is None)):
        ordered += sorted(siblings, key=lambda one: one.step or 0)
    # By a path with a slash at its end, or given twice.
    return list({one.path: one for one in ordered}.values())


def short_names(checkpoints: Iterable[Checkpoint]) -> list[str]:
    """As few parts of each path, from its end, as tell them all apart.

    >>> short_names([Checkpoint(Path("a/checkpoint-1")), Checkpoint(Path("b/checkpoint-1"))])
    ['a/checkpoint-1', 'b/checkpoint-1']
    """
    # Of the path as it was given, unless that is "." or ends in "..".
    parts = [
        one.path.parts if one.path.name not in ("", "..") else one.path.resolve().parts or ("/",) for one in checkpoints
    ]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(part) for part in parts]


def tokenizer_mark(path: Path) -> str:
    """The same for two copies of one tokenizer, so that the checkpoints of a run share what was made with it."""
    digest = hashlib.sha256()
    files = sorted(file for name in _TOKENIZER for file in path.glob(name)) if path.is_dir() else []
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    # Of a .gguf the tokenizer is a part, and the whole is too large to be read for this.
    return digest.hexdigest() if files else str(path.resolve())


def _at(path: Path) -> list[Checkpoint]:
    try:
        if not path.exists():
            return [_no_model(path, "does not exist")]
        if path.is_file():
            return [Checkpoint(path) if path.suffix == ".gguf" else _no_model(path, "is a file and no .gguf")]
        if (path / "config.json").is_file():
            return [_of_directory(path)]
        inside = [one for one in path.iterdir() if one.is_dir() and _STEP.fullmatch(one.name)]
    except OSError as problem:
        return [_no_model(path, f"cannot be read: {problem.strerror or problem}")]
    if inside:
        return sorted((_of_directory(one) for one in inside), key=lambda one: (one.step or 0, one.path.name))
    return [_of_directory(path)]


def _of_directory(path: Path) -> Checkpoint:
    step = _step_of(path)
    if (path / "config.json").is_file() and any(any(path.glob(pattern)) for pattern in _WEIGHTS):
        return Checkpoint(path, step)
    if (path / "adapter_config.json").is_file():
        why = "holds an adapter: merge it into its model and save the whole"
    elif any(path.glob("pytorch_model_fsdp*")):
        why = "holds the shards of FSDP: put them together with accelerate merge-weights"
    elif (path / "zero_to_fp32.py").is_file():
        why = "holds the shards of DeepSpeed: put them together with the zero_to_fp32.py in it"
    elif (path / "config.json").is_file():
        why = "has no weights in it (model.safetensors)"
    elif any(path.glob("*.gguf")):
        why = f"is no model; name the file in it, such as {next(path.glob('*.gguf')).name}"
    else:
        return _no_model(path, "has no config.json and no checkpoint-* in it", step)
    return Checkpoint(path, step, f"{shown_path(path)} {why}")


def _no_model(path: Path, why: str, step: int | None = None) -> Checkpoint:
    allowed = "give the directory of a Hugging Face model, a .gguf file, or a directory of checkpoint-*"
    return Checkpoint(path, step, f"{shown_path(path)} {why}; {allowed}")


def _step_of(path: Path) -> int | None:
    try:
        step = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]
        if isinstance(step, int) and step >= 0:
            return step
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not of this trainer, or cut off: its name may tell
    named = _STEP.search(path.name)
    return int(named[1]) if named else None


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZER)


def checked(checkpoint: Checkpoint) -> Checkpoint:
    """
    Raises:
        ProbeError: it cannot be a model.
    """
    if checkpoint.problem is not None:
        raise ProbeError(checkpoint.problem)
    return checkpoint
