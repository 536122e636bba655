"""Questions with known answers: is the right one the likeliest?"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from .answers import summarise
from .base import ProbeError, ProbeResult, checked_name
from .encoding import EncodedSuite, encode_suite
from .language_model import LanguageModel
from .question_files import load_suite
from .questions import Suite
from .rows import Row
from .scoring import Progress, score
from .shared_rows import plain_rows, shared_rows
from .suites import SUITES, named_suite
from .tokenizers import as_tokenizer

# Roundings of the model's own precision by which answers read in a shared row may differ from the same read by
# themselves, and the most that may come to, as a share of what they cost.
_ROUNDINGS, _TOLERANCE = 1000, 0.02
_TRIED = 4  # questions


class ChoiceProbe:
    """Multiple choice, cloze and minimal pairs, answered by the likelihood of each choice.

    Per suite: ``accuracy`` with its interval and what guessing gives, the same by likelihood per token and per byte,
    and ``gold_bits_per_byte``: what the right answer costs. The last one moves long before accuracy leaves chance.

    >>> import torch
    >>> class Shouting(torch.nn.Module):
    ...     def forward(self, input_ids):
    ...         return 5.0 * torch.nn.functional.one_hot(torch.full_like(input_ids, 33), 256).float()
    >>> question = {"context": "ab", "choices": ["x", "!"], "answer": 1}
    >>> probe = ChoiceProbe({"loud": [question]}, lambda text: list(text.encode()), context_length=16)
    >>> probe(Shouting())["task/loud/accuracy_per_token"]
    1.0

    Args:
        suites: by name: questions, files, or tasks of installed packages; all that ``load_suite`` takes. Or a list of
            names of ``SUITES``, each of which is several tasks.
        tokenizer: the model's own, of any kind that ``as_tokenizer`` takes.
        name: of the probe.
        limit: questions of each task, evenly spaced over it; None: all.
        context_length: tokens read at a time; None: what the model can read, at most 2,048. Longer contexts lose their
            beginning.
        prefix: begin each context with the token that documents begin after.
        batch_tokens: tokens per forward pass; halved by itself when memory runs out.
        forward: ``forward(model, input_ids)`` that returns logits, if the model does not when called with token ids.

    Raises:
        ProbeError: a setting that cannot be used, or a suite that cannot be read.
    """

    def __init__(
        self,
        suites: Mapping[str, Any] | list[str] | tuple[str, ...],
        tokenizer: Any,
        *,
        name: str = "tasks",
        limit: int | None = None,
        context_length: int | None = None,
        prefix: bool = False,
        batch_tokens: int = 4096,
        forward: Callable[[Any, Tensor], Any] | None = None,
    ) -> None:
        self.name = checked_name(name, "probe")
        for setting, value in (("limit", limit), ("context_length", context_length), ("batch_tokens", batch_tokens)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ProbeError(f"{setting}={value!r}: give a number, 1 or more")
        self.suites = _suites(suites, limit)
        self.progress: Progress | None = None
        self._tokenizer = as_tokenizer(tokenizer)
        self._context_length = context_length
        self._prefix = prefix
        self._batch_tokens = batch_tokens
        self._forward = forward
        self._encoded: tuple[int, list[EncodedSuite]] | None = None
        self._takes_trees = False
        self._tried: weakref.ref[Any] | None = None  # the model that this was tried on

    @property
    def tasks(self) -> list[str]:
        """Names of the suites, under which their results are kept."""
        return [suite.name for suite in self.suites]

    def __call__(self, model: Any) -> ProbeResult:
        """Ask. Bitwise neutral to the training; under several ranks every one of them calls it.

        Raises:
            ProbeError: the model cannot be measured, or there is no memory for a single row.
        """
        reader = LanguageModel(model, forward=self._forward, context_length=self._context_length)
        suites = self._as_tokens(reader.context_length)
        if self._tried is None or self._tried() is not model:
            self._takes_trees = self._try_trees(reader, suites)
            self._tried = weakref.ref(model)
        rows, choices = self._rows(suites, are_shared=self._takes_trees)
        costs = score(reader, rows, choices, batch_tokens=self._batch_tokens, progress=self.progress)
        result, first = ProbeResult({}), 0
        for suite in suites:
            last = first + len(suite.tokens)
            found, scores = summarise(
                suite.suite,
                -costs.nats[first:last],
                suite.tokens,
                suite.bytes,
                costs.greedy[first:last],
                key=f"{reader.context_length} {self._prefix}",
            )
            result.update(found)
            result.scores[f"task/{suite.suite.name}"] = scores
            result.notes += suite.notes + found.notes
            first = last
        return result

    def _as_tokens(self, context_length: int) -> list[EncodedSuite]:
        if self._encoded is None or self._encoded[0] != context_length:
            encoded = [
                encode_suite(self._tokenizer, suite, context_length=context_length, prefix=self._prefix)
                for suite in self.suites
            ]
            self._encoded = context_length, encoded
        return self._encoded[1]

    def _rows(self, suites: list[EncodedSuite], *, are_shared: bool) -> tuple[list[Row], int]:
        rows: list[Row] = []
        choices = 0
        for suite in suites:
            if are_shared and suite.suite.kind != "cloze":
                counts = [len(question.choices) for question in suite.suite.questions]
                rows += shared_rows(suite.contexts, suite.continuations, counts, choices)
            else:
                rows += plain_rows(suite.contexts, suite.continuations, choices)
            choices += len(suite.tokens)
        return rows, choices

    def _try_trees(self, reader: LanguageModel, suites: list[EncodedSuite]) -> bool:
        """Whether this model answers a few questions in a shared row as it answers them one by one."""
        longest = max(
            len(c) + len(e) for suite in suites for c, e in zip(suite.contexts, suite.continuations, strict=True)
        )
        if not reader.may_take_trees(longest):
            return False
        few = next((suite for suite in suites if suite.suite.kind != "cloze"), None)
        if few is None:
            return False
        counts = [len(question.choices) for question in few.suite.questions][:_TRIED]
        choices = sum(counts)
        contexts, continuations = few.contexts[:choices], few.continuations[:choices]
        try:
            shared = score(reader, shared_rows(contexts, continuations, counts, 0), choices).nats
        except (ProbeError, RuntimeError, TypeError, ValueError):
            return False
        alone = score(reader, plain_rows(contexts, continuations, 0), choices).nats
        tolerance = min(_TOLERANCE, _ROUNDINGS * reader.precision)
        return bool(np.all(np.abs(shared - alone) <= tolerance * (1 + np.abs(alone))))


def _suites(given: Any, limit: int | None) -> list[Suite]:
    if isinstance(given, Mapping):
        suites = [load_suite(checked_name(name, "suite"), one, limit=limit) for name, one in given.items()]
    elif isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        suites = [suite for name in given for suite in named_suite(name, limit)]
    else:
        raise ProbeError(
            f"suites is a {type(given).__name__}: give {{name: questions or a file}}, or names of {', '.join(SUITES)}"
        )
    if not suites:
        raise ProbeError("ChoiceProbe needs at least one suite: {name: questions or a file}")
    names = [suite.name for suite in suites]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ProbeError(f"two suites are named {twice!r}: their results could not be told apart; rename one")
    return suites
