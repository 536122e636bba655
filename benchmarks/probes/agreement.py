"""Whether probes and lm-evaluation-harness say the same of the same documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.choice import ChoiceProbe
from pretrain_monitor.probes.perplexity import PerplexityProbe
from pretrain_monitor.probes.questions import Suite

from .figures import Figure
from .harness import Harness

CLOSE_NATS = 1e-3  # by which a document may differ
FOUR_DIGITS = 5e-5

MakeHarness = Callable[..., Harness]  # of batch_size, context_length and is_exact


class Answers(NamedTuple):
    """What a harness's likelihoods say, by question: whether it is right, and what the right choice cost in nats."""

    right: NDArray[np.bool_]
    nats: NDArray[np.float64]


def answers(suite: Suite, found: Sequence[tuple[float, bool]]) -> Answers:
    """Judged as lm-evaluation-harness judges: the likeliest choice, or for a single one whether decoding gives it.

    Args:
        found: log-likelihood and greediness of every choice of every question, in order.
    """
    right, nats, first = [], [], 0
    for question in suite.questions:
        own = found[first : (first := first + len(question.choices))]
        likeliest = int(np.argmax([likelihood for likelihood, _ in own]))
        right.append(own[0][1] if suite.kind == "cloze" else likeliest == question.gold)
        nats.append(-own[question.gold][0])
    return Answers(np.array(right), np.array(nats))


def pairs_of(suite: Suite) -> list[tuple[str, str]]:
    return [pair for question in suite.questions for pair in question.texts()]


def bits_per_byte(nats: NDArray[np.float64], sizes: Sequence[int]) -> float:
    return float(nats.sum()) / (math.log(2) * sum(sizes))


def of_suite(model: Any, tokenizer: Any, suite: Suite, make: MakeHarness, context_length: int) -> list[Figure]:
    """Likelihoods, accuracy and bits per byte of one task."""
    probe = ChoiceProbe({suite.name: suite}, tokenizer, context_length=context_length)
    result = probe(model)
    scores = result.scores[f"task/{suite.name}"]
    sizes = [len(question.choices[question.gold].encode()) for question in suite.questions]
    found = {
        is_exact: answers(
            suite,
            make(batch_size=8, context_length=context_length, is_exact=is_exact).continuations(pairs_of(suite)),
        )
        for is_exact in (False, True)
    }
    theirs = found[False]
    assert scores.right is not None
    alike = int(((scores.right > 0) == theirs.right).sum())
    return [
        *likelihoods(f"{suite.name}, {len(sizes)} documents", scores, found[False].nats, found[True].nats),
        Figure(
            f"{suite.name}: accuracy",
            f"{result[f'task/{suite.name}/accuracy']:.3f}",
            f"{theirs.right.mean():.3f}",
            f"{alike} of {len(sizes)} questions alike",
            "all",
            alike == len(sizes),
        ),
        bits(suite.name, result[f"task/{suite.name}/gold_bits_per_byte"], bits_per_byte(theirs.nats, sizes)),
    ]


def of_texts(
    model: Any, tokenizer: Any, domain: str, texts: list[str], make: MakeHarness, context_length: int
) -> list[Figure]:
    """Likelihoods and bits per byte of whole texts, in windows where they are longer than the context."""
    result = PerplexityProbe({domain: texts}, tokenizer, context_length=context_length)(model)
    scores = result.scores[f"heldout/{domain}"]
    plain, exact = (
        -np.array(make(batch_size=4, context_length=context_length, is_exact=is_exact).texts(texts))
        for is_exact in (False, True)
    )
    longer = int((scores.tokens > context_length).sum())
    what = f"{domain}, {len(texts)} texts, {longer} longer than {context_length:,} tokens"
    theirs = bits_per_byte(plain, [len(text.encode()) for text in texts])
    return [
        *likelihoods(what, scores, plain, exact),
        bits(domain, result[f"heldout/{domain}/bits_per_byte"], theirs),
    ]


def likelihoods(
    what: str, scores: Scores, plain: NDArray[np.float64], exact: NDArray[np.float64]
) -> tuple[Figure, Figure]:
    """Document by document against a harness as it is, and with its softmax in float64."""
    return _likelihood(f"{what}: nats", scores, plain), _likelihood("the same, its softmax in float64", scores, exact)


def _likelihood(what: str, scores: Scores, theirs: NDArray[np.float64]) -> Figure:
    difference = theirs - scores.nats
    largest = float(np.abs(difference).max())
    bias = float(difference.sum()) / int(scores.tokens.sum())
    return Figure(
        what,
        f"{scores.nats.sum():.3f}",
        f"{theirs.sum():.3f}",
        f"largest difference {largest:.1e}; {bias:+.1e} a token",
        f"{CLOSE_NATS:g}",
        largest <= CLOSE_NATS,
    )


def bits(name: str, here: float, theirs: float) -> Figure:
    difference = abs(here / theirs - 1)
    return Figure(
        f"{name}: bits per byte", f"{here:.6f}", f"{theirs:.6f}", f"{difference:.1e} of it", "4 digits",
        difference < FOUR_DIGITS,
    )  # fmt: skip
