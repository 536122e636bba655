"""Probes on models from disk, one model after the other."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from ..printable import shown_path
from .base import Probe, ProbeError
from .checkpoints import Checkpoint, Dtype, checked, tokenizer_mark
from .loading import load_model
from .memory import PeakMemory
from .optional import one_line
from .probe_file import ProbeFile
from .results import ModelResult, ProbeOutcome
from .schedule import Scheduled
from .tokenizer_files import load_tokenizer
from .tokenizers import Tokenizer

# Models have some more embeddings than tokens, to make a round number. With fewer tokens than this share of them it is
# another model's tokenizer.
_USUAL_USE = 0.9


class Show(Protocol):
    """Told what is going on."""

    def doing(self, what: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...


class Measurement:
    """The same probes on each of several models. What they were made of is read once for each tokenizer.

    Args:
        tokenizer: for all models; None: the one that the probe file names, or else each model's own.
        limit: documents of each domain and questions of each task.
    """

    def __init__(
        self,
        probe_file: ProbeFile,
        *,
        show: Show,
        device: torch.device,
        dtype: Dtype = "auto",
        tokenizer: str | Path | None = None,
        limit: int | None = None,
    ) -> None:
        self._file = probe_file
        self._show = show
        self._device = device
        self._dtype: Dtype = dtype
        self._limit = limit
        self._shared = tokenizer if tokenizer is not None else probe_file.tokenizer
        self._mark: str | None = None
        self._tokenizer: Tokenizer | None = None
        self._probes: list[Probe] = []
        self._static: dict[str, ProbeOutcome] = {}

    def __call__(self, checkpoint: Checkpoint, name: str) -> ModelResult:
        """Everything about one model; what goes wrong with it is in the result.

        Raises:
            ProbeError: the probes themselves cannot be set up, whatever the model.
        """
        result = ModelResult(str(checkpoint.path), name, checkpoint.step)
        started = time.monotonic()
        try:
            checked(checkpoint)
            self._prepare(checkpoint)
            model, notes = None, list[str]()
            if self._file.needs_model:
                self._show.doing(f"{name}: reading the model")
                model, notes = load_model(checkpoint, device=self._device, dtype=self._dtype)
        except _Unusable as problem:
            raise ProbeError(str(problem)) from None
        except ProbeError as problem:
            return replace(result, problem=str(problem))
        if model is not None:
            notes += _other_vocabulary(model, self._tokenizer)
            sizes = sum(parameter.numel() for parameter in model.parameters())
            result = replace(result, parameters=sizes, dtype=str(model.dtype).removeprefix("torch."))
        if self._tokenizer is not None:
            result = replace(result, tokenizer=self._tokenizer.name, vocabulary=self._tokenizer.size)
        loaded = time.monotonic() - started
        outcomes = [self._run(probe, model, name) for probe in self._probes]
        del model
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return replace(result, load_seconds=round(loaded, 3), probes=tuple(outcomes), notes=tuple(notes))

    def _prepare(self, checkpoint: Checkpoint) -> None:
        """Have the probes for this model's tokenizer."""
        path = Path(self._shared) if self._shared is not None else checkpoint.tokenizer
        if path is None:
            raise ProbeError(
                f"{shown_path(checkpoint.path)} has no tokenizer in it or above it; give its path as --tokenizer"
            )
        mark = tokenizer_mark(path)
        if mark == self._mark:
            return
        self._show.doing("reading the tokenizer")
        is_first = self._mark is None
        try:
            tokenizer = load_tokenizer(path)
        except ProbeError as problem:
            raise (problem if self._shared is None else _Unusable(problem)) from None
        self._show.doing("reading the texts")
        try:
            probes = self._file.build(tokenizer, limit=self._limit)
        except ProbeError as problem:
            # A text that is missing is missing for every model. Later there are results that must not be lost.
            raise (_Unusable(problem) if is_first else problem) from None
        self._probes = [probe.probe if isinstance(probe, Scheduled) else probe for probe in probes]
        self._mark, self._tokenizer, self._static = mark, tokenizer, {}

    def _run(self, probe: Probe, model: Any, name: str) -> ProbeOutcome:
        if probe.name in self._static:
            return self._static[probe.name]
        self._show.doing(f"{name}: {probe.name}")
        clock = _Clock(self._show, self._device)
        if hasattr(probe, "progress"):
            probe.progress = clock
        memory = PeakMemory(self._device)
        outcome = ProbeOutcome(probe.name, self._file.kinds[probe.name], {}, {}, (), 0.0)
        try:
            found = probe(model)
        except ProbeError as problem:
            outcome = replace(outcome, problem=str(problem))
        except Exception as problem:
            outcome = replace(outcome, problem=f"{type(problem).__name__}: {one_line(problem)}")
        else:
            outcome = replace(
                outcome,
                metrics=dict(found),
                scores=getattr(found, "scores", {}),
                notes=tuple(getattr(found, "notes", ())),
            )
        is_static = getattr(probe, "is_static", False)
        outcome = replace(
            outcome,
            seconds=round(clock.seconds, 3),
            tokens_per_second=clock.tokens_per_second,
            peak_memory=None if is_static else memory.bytes(),
        )
        if is_static:
            self._static[probe.name] = outcome
        return outcome


class _Unusable(Exception):
    """The probes cannot be set up for any model."""


class _Clock:
    """Passes on how far a probe is, and keeps the time until its last token."""

    def __init__(self, show: Show, device: torch.device) -> None:
        self._show = show
        self._device = device
        self._begin = time.monotonic()
        self.tokens_per_second: float | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def __call__(self, done: int, total: int) -> None:
        if done == total:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)  # it has been told what to do, and is not through with it
            self.tokens_per_second = round(total / max(self.seconds, 1e-9), 1)
        self._show.progress(done, total)


def _other_vocabulary(model: Any, tokenizer: Tokenizer | None) -> list[str]:
    """A warning of a tokenizer that is too small for the model; the first token of one too large ends the probe."""
    embeddings = model.get_input_embeddings()
    known = getattr(embeddings, "num_embeddings", None)
    if tokenizer is None or tokenizer.size is None or known is None or tokenizer.size >= _USUAL_USE * known:
        return []
    return [
        f"the tokenizer has {tokenizer.size:,} tokens and the model {known:,}: if it is not the model's own, "
        "the numbers mean nothing"
    ]
