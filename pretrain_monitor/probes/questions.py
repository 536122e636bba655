"""Questions with known answers, and the suites that they come in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from .base import ProbeError, checked_name

Kind = Literal["choice", "cloze", "pairs"]


@dataclass(frozen=True, slots=True)
class Question:
    """A text to be continued and the continuations to compare.

    Args:
        id: names the question within its suite.
        context: what the model reads first; empty for a pair of whole sentences.
        choices: texts exactly as appended to the context, the space that parts them included. A cloze question has one.
        gold: number of the right choice, from 0.
        contexts: one for each choice where the choices differ in their beginning and not in their end, as when two
            names are tried in the blank of a sentence; ``context`` is then not read.
    """

    id: str
    context: str
    choices: tuple[str, ...]
    gold: int
    contexts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.choices or not all(self.choices):
            raise ProbeError(f"question {self.id}: needs choices, none of them empty")
        if not 0 <= self.gold < len(self.choices):
            raise ProbeError(f"question {self.id}: gold {self.gold}, but its choices are 0 to {len(self.choices) - 1}")
        if self.contexts is not None and len(self.contexts) != len(self.choices):
            raise ProbeError(f"question {self.id}: {len(self.contexts)} contexts for {len(self.choices)} choices")

    @property
    def kind(self) -> Kind:
        if len(self.choices) == 1:
            return "cloze"
        return "choice" if self.context or self.contexts or len(self.choices) > 2 else "pairs"

    def texts(self) -> list[tuple[str, str]]:
        """Context and continuation of each choice."""
        return list(zip(self.contexts or (self.context,) * len(self.choices), self.choices, strict=True))


@dataclass(frozen=True)
class Suite:
    """Questions that are answered, counted and reported together.

    Args:
        name: part of the names of its metrics: ``task/<name>/accuracy``.
        kind: ``choice``, right when the gold continuation is the likeliest; ``cloze``, right when greedy decoding gives
            exactly the one continuation; ``pairs``, right when the acceptable sentence is the likelier.
        domain: what the questions are about, such as ``law``.
    """

    name: str
    questions: tuple[Question, ...]
    kind: Kind
    domain: str

    def __post_init__(self) -> None:
        checked_name(self.name, "suite")
        if not self.questions:
            raise ProbeError(f"suite {self.name} has no questions")
        for question in self.questions:
            if (len(question.choices) == 1) != (self.kind == "cloze"):
                raise ProbeError(
                    f"suite {self.name}, question {question.id}: a cloze question has one continuation and others have "
                    "two or more; give each kind a suite of its own"
                )

    @property
    def chance(self) -> float:
        """Accuracy of guessing: the mean of 1 / choices, 0 for cloze questions."""
        if self.kind == "cloze":
            return 0.0
        return sum(1 / len(question.choices) for question in self.questions) / len(self.questions)

    @property
    def best_constant(self) -> float | None:
        """Accuracy of always giving the same answer, the best one, where all questions offer the same choices.

        Two in three questions may have the answer "yes", and a model that has learned no more is then above chance.
        """
        if self.kind != "choice" or len({question.choices for question in self.questions}) > 1:
            return None
        golds = [question.gold for question in self.questions]
        return max(map(golds.count, set(golds))) / len(golds)

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same questions in the same order, whatever the suite is called."""
        digest = hashlib.sha256()
        for question in self.questions:
            digest.update(repr((question.context, question.contexts, question.choices, question.gold)).encode())
        return digest.hexdigest()[:16]

    def spread(self, limit: int | None) -> Suite:
        """At most ``limit`` questions, evenly spaced: the first ones of a file often share a subject or a source."""
        count = len(self.questions)
        if limit is None or limit >= count:
            return self
        if limit < 1:
            raise ProbeError(f"suite {self.name}: limit={limit}; give 1 or more questions, or None for all")
        # Middles of equal parts: no random number, so the same questions are asked in every round and every run.
        chosen = tuple(self.questions[(2 * turn + 1) * count // (2 * limit)] for turn in range(limit))
        return replace(self, questions=chosen)


def suite_of(name: str, questions: Sequence[Question], domain: str | None = None) -> Suite:
    """A suite of the kind that its questions have.

    Args:
        domain: the suite's own name when not given.

    Raises:
        ProbeError: no questions, two with the same id, or cloze questions among others.
    """
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise ProbeError(f"suite {name}: two questions have the id {question.id!r}; ids tell questions apart")
        seen.add(question.id)
    kinds = {question.kind for question in questions}
    # Questions with contexts make it a suite of choices, though one of them may happen to have none.
    kind: Kind = "choice" if "choice" in kinds else "pairs" if "pairs" in kinds else "cloze"
    return Suite(name, tuple(questions), kind, name if domain is None else domain)
