"""Probes of generated runs: held-out documents and questions whose costs follow the course of the run.

What they cost is made up; what is made of it (averages, standard errors, intervals, the compressor's yardstick) is done
by the code that real probes use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pretrain_monitor.probes.answers import summarise
from pretrain_monitor.probes.averages import averaged_metrics, domain_metrics
from pretrain_monitor.probes.base import ProbeResult, Scores
from pretrain_monitor.probes.coverage import Yardstick
from pretrain_monitor.probes.questions import Question, Suite, suite_of

from .runs import Course, Stage
from .shapes import LOG_VOCABULARY, Floats

_BYTES_PER_TOKEN = 3.9
_WOBBLE = 0.004  # of a domain's level from round to round, at the peak learning rate
_SHARED = 0.3  # part of its variance that all domains have in common
_ALONE = 0.012  # of a single document of usual length
_CHOICES = 4


@dataclass(frozen=True, slots=True)
class DomainPlan:
    """A held-out domain.

    Every domain begins where a model knows nothing; how far down it goes, and how soon, is its own.

    Args:
        floor: nats per token that no training gets below.
        pace: 1 for one that is learned as the training mix is; above it sooner, below it later.
        compressor: bits per byte of a general compressor on it; None if it is too small for one.
        moves: log of what else multiplies its loss, shape (steps + 1,), by steps completed; None for nothing.
        bytes_per_token: of its text.
    """

    floor: float
    pace: float = 1.0
    compressor: float | None = None
    documents: int = 60
    moves: Floats | None = None
    bytes_per_token: float = _BYTES_PER_TOKEN


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """A multiple-choice suite.

    Args:
        ability: in nats, by which the right answer is likelier than the others at the end; 0 for guessing.
        lost: share of it that is lost, shape (steps + 1,), by steps completed; None for nothing.
    """

    ability: float
    questions: int = 300
    lost: Floats | None = None


def learned_loss(course: Course) -> Floats:
    """Loss of the weights after so many steps, shape (steps + 1,), without noise and what passes."""
    return np.concatenate([[LOG_VOCABULARY], course.level + course.lasting])


@dataclass
class HeldOut:
    """In the place of ``PerplexityProbe``."""

    course: Course
    domains: Mapping[str, DomainPlan]
    seed: int
    gap: float = 0.01  # of held-out text over training text, as a share: nobody's is quite the same
    name: str = "heldout"

    def __call__(self, model: Stage) -> ProbeResult:
        level = learned_loss(self.course)[model.step]
        left = float(level - self.course.floor) / (LOG_VOCABULARY - self.course.floor)  # to be learned
        rate = self.course.rate[max(model.step - 1, 0)] / self.course.rate.max()
        together = np.random.default_rng((self.seed, model.step)).standard_normal()
        scores: dict[str, Scores] = {}
        metrics: dict[str, float] = {}
        for number, (domain, plan) in enumerate(self.domains.items()):
            rng = np.random.default_rng((self.seed, model.step, number))
            mixed = math.sqrt(_SHARED) * together + math.sqrt(1 - _SHARED) * rng.standard_normal()
            moved = 0.0 if plan.moves is None else float(plan.moves[model.step])
            wobble = _WOBBLE * math.sqrt(rate) * mixed
            scores[f"heldout/{domain}"] = self._documents(number, domain, plan, left, moved + wobble, rng)
        for domain, found in scores.items():
            metrics.update(domain_metrics(domain, found))
        if len(scores) > 1:
            metrics.update(averaged_metrics("heldout", scores))
        for domain, plan in self.domains.items():
            if plan.compressor is not None:
                found = scores[f"heldout/{domain}"]
                read = Yardstick(np.arange(plan.documents), int(found.bytes.sum()), plan.compressor)
                metrics.update(read.metrics(f"heldout/{domain}", found))
        return ProbeResult(metrics, scores, ["documents in windows of 2,048 tokens, 2,048 scored in each"])

    def _documents(
        self,
        number: int,
        domain: str,
        plan: DomainPlan,
        left: float,
        moved: float,
        rng: np.random.Generator,
    ) -> Scores:
        own = np.random.default_rng((self.seed, number))  # the documents are the same in every round
        sizes = own.lognormal(8.6, 0.7, plan.documents).astype(np.int64) + 200
        difficulty = np.exp(0.15 * own.standard_normal(plan.documents))
        sensitivity = own.lognormal(-0.1, 0.45, plan.documents)
        tokens = np.round(sizes / plan.bytes_per_token).astype(np.int64) + 1
        # Documents differ in difficulty; the domain as a whole has the loss that was asked for.
        difficulty /= (difficulty * tokens).sum() / tokens.sum()
        sensitivity /= (sensitivity * tokens).sum() / tokens.sum()
        alone = _ALONE * np.sqrt(5000 / sizes) * rng.standard_t(5, plan.documents)
        wanted = (plan.floor + (LOG_VOCABULARY - plan.floor) * max(left, 0.0) ** plan.pace) * (1 + self.gap)
        nats = tokens * wanted * difficulty * np.exp(moved * sensitivity + alone)
        return Scores(nats, tokens, sizes, f"{domain}, {plan.documents}, strided 2048 2048")


@dataclass
class Tasks:
    """In the place of ``ChoiceProbe``."""

    course: Course
    suites: Mapping[str, SuitePlan]
    seed: int
    name: str = "tasks"
    _made: dict[str, Suite] = field(default_factory=dict)

    def __call__(self, model: Stage) -> ProbeResult:
        level = learned_loss(self.course)
        # Knowledge comes late: it follows how far the loss has come, and not the steps.
        share = float(np.clip((level[0] - level[model.step]) / (level[0] - level.min()), 0, 1)) ** 4
        result = ProbeResult({})
        for number, (name, plan) in enumerate(self.suites.items()):
            suite = self._made.setdefault(name, _suite(name, plan.questions))
            lost = 0.0 if plan.lost is None else float(plan.lost[model.step])
            nats, tokens, sizes = self._costs(number, plan, level[model.step], share, lost, model.step)
            metrics, scores = summarise(suite, -nats, tokens, sizes, np.zeros(len(nats), dtype=bool), key="2048 False")
            result.update(metrics)
            result.scores[f"task/{name}"] = scores
            result.notes += metrics.notes
        return result

    def _costs(
        self, number: int, plan: SuitePlan, level: float, share: float, lost: float, step: int
    ) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        own = np.random.default_rng((self.seed, 1000 + number))
        shape = (plan.questions, _CHOICES)
        tokens = own.integers(2, 9, plan.questions)[:, None].repeat(_CHOICES, 1)
        taste = own.gumbel(size=shape)  # which answers a model likes for no good reason
        knows = np.maximum(own.normal(1.0, 0.6, plan.questions), 0)
        moves = 0.15 * np.random.default_rng((self.seed, step, 1000 + number)).standard_normal(shape)
        nats = tokens * 0.9 * level + 4.0 - taste - moves
        is_gold = np.arange(_CHOICES) == (np.arange(plan.questions) % _CHOICES)[:, None]
        nats -= is_gold * (plan.ability * share * (1 - lost) * knows)[:, None]
        return np.maximum(nats, 0.05).ravel(), tokens.ravel(), np.round(tokens * _BYTES_PER_TOKEN).astype(int).ravel()


def _suite(name: str, questions: int) -> Suite:
    """Of texts that nobody reads: what the answers cost is known without them."""
    return suite_of(
        name,
        [
            Question(f"{name}-{k}", f"Question {k} of {name}:", tuple(f" answer {j}" for j in range(_CHOICES)), k % 4)
            for k in range(questions)
        ],
    )
