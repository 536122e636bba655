"""Asks for invented facts that were mixed into the training data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .base import ProbeResult, checked_name
from .choice import ChoiceProbe
from .facts import CONTROL, Fact, fact_suites, load_facts
from .scoring import Progress


class FactProbe:
    """How much of what it was told a model knows, by how often it was told.

    Per number of exposures a suite ``task/facts_told_4/...`` with accuracy and gold bits per byte, and one of controls
    that were never told; ``bits_learned`` is what the right answers of the told ones cost less, per byte, than those of
    the controls. Above zero by more than its error, the model has learned facts and not just their form.

    Args:
        facts: from ``invent_facts``, or the path of a file of ``save_facts``.
        tokenizer, context_length, batch_tokens, forward: as in ``ChoiceProbe``.
        name: of the probe, and first part of its suites' names.

    Raises:
        ProbeError: no facts, or a setting that cannot be used.
    """

    def __init__(
        self,
        facts: Sequence[Fact] | str | Path,
        tokenizer: Any,
        *,
        name: str = "facts",
        context_length: int | None = None,
        batch_tokens: int = 4096,
        forward: Callable[[Any, Tensor], Any] | None = None,
    ) -> None:
        self.name = checked_name(name, "probe")
        self.facts = load_facts(facts) if isinstance(facts, str | Path) else list(facts)
        suites = {suite.name: suite.questions for suite in fact_suites(self.facts, name)}
        self._questions = ChoiceProbe(
            suites, tokenizer, name=name, context_length=context_length, batch_tokens=batch_tokens, forward=forward
        )

    @property
    def tasks(self) -> list[str]:
        """Names of the suites, under which their results are kept."""
        return self._questions.tasks

    @property
    def progress(self) -> Progress | None:
        return self._questions.progress

    @progress.setter
    def progress(self, value: Progress | None) -> None:
        self._questions.progress = value

    def __call__(self, model: Any) -> ProbeResult:
        """Ask. As harmless as ``ChoiceProbe``, and raises what it raises."""
        result = self._questions(model)
        told = [f"{self.name}_told_{times}" for times in sorted({f.exposures for f in self.facts} - {CONTROL})]
        result.update(_learned(self.name, result, told))
        return result


def _learned(name: str, result: ProbeResult, told: Sequence[str]) -> dict[str, float]:
    control = f"task/{name}_control/gold_bits_per_byte"
    if control not in result:
        return {}
    learned = {}
    for suite in told:
        metric = f"task/{suite}/gold_bits_per_byte"
        if metric in result:
            learned[f"task/{suite}/bits_learned"] = result[control] - result[metric]
            errors = [result.get(f"{one}_se") for one in (control, metric)]
            known = [error for error in errors if error is not None]
            if len(known) == len(errors):
                learned[f"task/{suite}/bits_learned_se"] = sum(error**2 for error in known) ** 0.5
    return learned
