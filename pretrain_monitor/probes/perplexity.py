"""Held-out perplexity and bits per byte, domain by domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .averages import averaged_metrics, domain_metrics
from .base import ProbeError, ProbeResult, Scores, checked_name
from .coverage import Yardstick, yardstick
from .documents import Domain, read_domain
from .gaps import gap, notes_on_gaps
from .language_model import LanguageModel
from .results import ModelResult, read_reference
from .rows import Row
from .scoring import Progress, score
from .tokenizers import as_tokenizer
from .windows import Windows, packed, strided

_RESERVED = ("micro", "macro")


class PerplexityProbe:
    """How well a model predicts texts that it was not trained on.

    Per domain: ``loss`` in nats per token, ``perplexity``, and ``bits_per_byte``, all nats over all bytes, with their
    standard errors over documents; over several domains ``micro`` and ``macro`` averages of the same. Of a domain with
    300 kB of text or more also ``compressor_bits_per_byte``, what xz needs for the same documents, and ``coverage``:
    how many times fewer the model needs.

    >>> import torch
    >>> class Uniform(torch.nn.Module):
    ...     def forward(self, input_ids):
    ...         return torch.zeros(*input_ids.shape, 256)
    >>> probe = PerplexityProbe({"letters": ["some text"]}, lambda text: list(text.encode()), context_length=64)
    >>> round(probe(Uniform())["heldout/letters/perplexity"], 6)
    256.0

    Args:
        domains: by name: texts, files, or token ids; all that ``load_domain`` and ``read_domain`` take.
        tokenizer: the model's own, of any kind that ``as_tokenizer`` takes; None if all domains are token ids.
        name: of the probe; if you have several, part of their metrics' names: ``heldout/<name>/<domain>/...``.
        context_length: tokens read at a time; None: what the model can read, at most 2,048.
        windows: ``strided`` reads each document by itself, ``packed`` all of a domain as one stream.
        stride: tokens scored per window of a long document; None: the whole context, so that none is read twice.
        batch_tokens: tokens per forward pass; halved by itself when memory runs out.
        compressor: hold each domain against xz, which takes up to two seconds a domain, the first time.
        reference: file that ``pretrain-monitor probe --json`` wrote of another model: ``gap_to_reference`` is what this
            model needs more than that one, in bits per byte (nats per token where bytes are unknown), with its
            standard error.
        forward: ``forward(model, input_ids)`` that returns logits, if the model does not when called with token ids.

    Raises:
        ProbeError: a setting that cannot be used, or a domain that cannot be read.
    """

    def __init__(
        self,
        domains: Mapping[str, Any],
        tokenizer: Any = None,
        *,
        name: str = "heldout",
        context_length: int | None = None,
        windows: Windows = "strided",
        stride: int | None = None,
        batch_tokens: int = 4096,
        compressor: bool = True,
        reference: str | Path | None = None,
        forward: Callable[[Any, Tensor], Any] | None = None,
    ) -> None:
        self.name = checked_name(name, "probe")
        self._prefix = "heldout" if name == "heldout" else f"heldout/{name}"
        if not domains:
            raise ProbeError("PerplexityProbe needs at least one domain: {name: texts, files or token ids}")
        if not isinstance(domains, Mapping):
            raise ProbeError(f"domains is a {type(domains).__name__}: give {{name: texts, files or token ids}}")
        for domain in domains:
            if checked_name(domain, "domain") in _RESERVED:
                raise ProbeError(f"domain {domain!r}: that is the name of an average; choose another one")
        if windows not in ("strided", "packed"):
            raise ProbeError(f"windows={windows!r}: give strided or packed")
        for setting, value in (("context_length", context_length), ("stride", stride), ("batch_tokens", batch_tokens)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ProbeError(f"{setting}={value!r}: give a number of tokens, 1 or more")
        if context_length is not None and stride is not None and stride > context_length:
            raise ProbeError(f"stride={stride}: no window scores more than the {context_length} tokens that it reads")
        if stride is not None and windows == "packed":
            raise ProbeError("stride is for strided windows: packed rows score each token once")
        self.progress: Progress | None = None
        self._tokenizer = None if tokenizer is None else as_tokenizer(tokenizer)
        self._reference = None if reference is None else self._checked_reference(reference, domains)
        self.domains = {domain: read_domain(domain, given, self._tokenizer) for domain, given in domains.items()}
        self._context_length = context_length
        self._windows = windows
        self._stride = stride
        self._batch_tokens = batch_tokens
        self._forward = forward
        self._compressor = compressor
        self._yardsticks: dict[str, tuple[Yardstick | None, str]] | None = None

    def __call__(self, model: Any) -> ProbeResult:
        """Measure. Bitwise neutral to the training; under several ranks every one of them calls it.

        Raises:
            ProbeError: the model cannot be measured, or there is no memory for a single row.
        """
        reader = LanguageModel(model, forward=self._forward, context_length=self._context_length)
        stride = min(self._stride or reader.context_length, reader.context_length)
        rows, first = [], 0
        for domain in self.domains.values():
            rows += _numbered(self._rows(domain, reader.context_length, stride), first)
            first += len(domain.documents)
        costs = score(reader, rows, first, batch_tokens=self._batch_tokens, progress=self.progress)
        cut = f"{self._windows} {reader.context_length} {stride}"
        scores, first = {}, 0
        for name, domain in self.domains.items():
            last = first + len(domain.documents)
            scores[f"{self._prefix}/{name}"] = _scores(domain, costs.nats[first:last], domain.key(cut))
            first = last
        metrics = {k: v for domain, s in scores.items() for k, v in domain_metrics(domain, s).items()}
        if len(scores) > 1:
            metrics.update(averaged_metrics(self._prefix, scores))
        notes = self._notes(reader.context_length, stride)
        notes += self._add_coverage(metrics, scores)
        notes += self._add_gaps(metrics, scores, notes[0])
        return ProbeResult(metrics, scores, notes)

    def _rows(self, domain: Domain, context_length: int, stride: int) -> list[Row]:
        if self._windows == "packed":
            return packed(domain.documents, context_length)
        return strided(domain.documents, context_length, stride)

    def _add_coverage(self, metrics: dict[str, float], scores: Mapping[str, Scores]) -> list[str]:
        if not self._compressor:
            return []
        if self._yardsticks is None:
            # Not when the probe is made: a training would begin later by it even if no probe is ever due.
            found = {name: domain.texts for name, domain in self.domains.items() if domain.texts}
            self._yardsticks = {name: yardstick(texts) for name, texts in found.items()}
        notes = []
        for name, (compressed, note) in self._yardsticks.items():
            if compressed is not None:
                prefix = f"{self._prefix}/{name}"
                metrics.update(compressed.metrics(prefix, scores[prefix]))
            if note:
                notes.append(f"{name}: {note}")
        return notes

    def _add_gaps(self, metrics: dict[str, float], scores: Mapping[str, Scores], reading: str) -> list[str]:
        if self._reference is None:
            return []
        for name, own in scores.items():
            other = self._reference.scores.get(name)
            found = None if other is None else gap(other, own)
            if found is not None:
                metrics[f"{name}/gap_to_reference"] = found.value
                if found.standard_error is not None:
                    metrics[f"{name}/gap_to_reference_se"] = found.standard_error
        return notes_on_gaps(self._reference, {name: (own, reading) for name, own in scores.items()})

    def _checked_reference(self, path: str | Path, domains: Iterable[str]) -> ModelResult:
        reference = read_reference(path)
        names = [f"{self._prefix}/{domain}" for domain in domains]
        if not any(name in reference.scores for name in names):
            raise ProbeError(f"reference {str(path)!r} has none of {', '.join(names)}: it measured other domains")
        return reference

    def _notes(self, context_length: int, stride: int) -> list[str]:
        if self._windows == "packed":
            notes = [f"documents packed into rows of {context_length:,} tokens"]
        else:
            notes = [f"documents in windows of {context_length:,} tokens, {stride:,} scored in each"]
        if any(not document.bytes for domain in self.domains.values() for document in domain.documents):
            notes.append(
                "no bits per byte where bytes are unknown: of token ids, and of a text whose first token is not scored "
                "if the tokenizer cannot turn it back into text"
            )
        notes += [
            f"{name}: {domain.left_out:,} documents without a token to score are left out"
            for name, domain in self.domains.items()
            if domain.left_out
        ]
        return notes


def _numbered(rows: list[Row], first: int) -> list[Row]:
    """The same rows, with documents counted on from ``first``."""
    return [Row(row.ids, row.at, row.targets, row.owners + first) for row in rows]


def _scores(domain: Domain, nats: np.ndarray[Any, np.dtype[np.float64]], key: str) -> Scores:
    documents = domain.documents
    return Scores(
        nats,
        np.array([document.scored for document in documents], dtype=np.int64),
        np.array([document.bytes for document in documents], dtype=np.int64),
        key,
    )
