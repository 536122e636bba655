"""Turns questions into tokens: what the model reads, and what it is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .base import ProbeError
from .questions import Suite
from .tokenizers import Tokenizer

Pair = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class EncodedSuite:
    """A suite as tokens; lists and arrays hold one entry for each choice, those of the first question first.

    Args:
        suite: the questions that fit.
        contexts: tokens read before the choice, never none.
        continuations: tokens of the choice, never none.
        tokens: shape (choices,), how many are scored.
        bytes: shape (choices,), UTF-8 bytes of the text that is scored.
        notes: what was cut or left out, for people.
    """

    suite: Suite
    contexts: list[list[int]]
    continuations: list[list[int]]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    notes: tuple[str, ...]


def moved(context: str, continuation: str) -> tuple[str, str]:
    """The white space at the end of a context belongs to the continuation, where most tokenizers keep it.

    >>> moved("The capital is ", "Paris")
    ('The capital is', ' Paris')
    """
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def encode_pair(tokenizer: Tokenizer, context: str, continuation: str, *, prefix: bool = False) -> Pair:
    """Tokens of a context and of its continuation; ``encode_pairs`` is many times quicker for many."""
    return encode_pairs(tokenizer, [(context, continuation)], prefix=prefix)[0]


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], *, prefix: bool = False) -> list[Pair]:
    """Tokens of contexts and continuations, parted where lm-evaluation-harness 0.4.13 parts them.

    The continuation is what the whole text has after as many tokens as the context has alone, so that it begins as in
    the text that a model is trained on. Where a token spans the border the two do not join to the whole exactly, and a
    continuation may even be left with no token at all. No special tokens, but an empty context becomes the token that
    documents begin after. Choices with the same context share one list of its tokens.

    Args:
        prefix: put that token before every context; for models that met it at the start of each document and whose
            tokenizer adds it by itself, such as Llama's.

    Raises:
        ProbeError: an empty context, and the tokenizer has no such token; or one that ends every text with a token.
    """
    parted = [moved(context, continuation) for context, continuation in pairs]
    # Each text once and all together: tokenizers written in Rust share a batch among the cores.
    texts = list(dict.fromkeys(text for context, end in parted for text in (context, context + end) if text))
    ids = dict(zip(texts, tokenizer.encode_all(texts), strict=True))
    _check_ends(tokenizer, parted, ids)
    begin = tokenizer.prefix_id
    # Some tokenizers also make nothing of a text that has only marks in it that nobody sees.
    if begin is None and (prefix or not all(ids.get(context) for context, _ in parted)):
        raise ProbeError(
            f"tokenizer {tokenizer.name} has no token that begins or ends a text, and a question without a context "
            "needs one to be scored after; give a tokenizer with one, or questions with a context"
        )
    before = [] if begin is None else [begin]
    read: dict[str, list[int]] = {}
    encoded: list[Pair] = []
    for context, end in parted:
        alone, whole = ids.get(context, []), ids.get(context + end, [])
        # A text that begins with that token by itself does not get it twice.
        if alone:
            has_it = not prefix or alone[:1] == before
            encoded.append((read.setdefault(context, alone if has_it else before + alone), whole[len(alone) :]))
        else:
            encoded.append((before, whole[1:] if whole[:1] == before else whole))
    return encoded


def _check_ends(tokenizer: Tokenizer, parted: Sequence[tuple[str, str]], ids: dict[str, list[int]]) -> None:
    """A function may add special tokens by itself. One behind each context would put all answers one token too late."""
    texts = [ids[text] for context, end in parted if context for text in (context, context + end)]
    last = texts[0][-1:] if texts else []
    if not last or not all(one[-1:] == last and one.count(last[0]) == 1 for one in texts):
        return
    # Few texts may end alike by themselves, where the tokenizer joins what stands before.
    if all(one[-1:] == last for one in tokenizer.encode_all(["a", "1"])):
        raise ProbeError(
            f"tokenizer {tokenizer.name} ends every text with token {last[0]}, so that nobody can tell where an answer "
            "begins: give one that adds no special tokens"
        )


def fit(context: list[int], continuation: list[int], context_length: int) -> list[int] | None:
    """The end of the context for which there is room; None where the continuation alone is too long.

    The last token of a continuation is predicted and never read, so both together may have one more than the length.

    >>> fit([1, 2, 3], [4, 5], context_length=3)
    [2, 3]
    """
    room = context_length + 1 - len(continuation)
    if room < 1:
        return None
    return context if len(context) <= room else context[-room:]


def encode_suite(
    tokenizer: Tokenizer, suite: Suite, *, context_length: int | None = None, prefix: bool = False
) -> EncodedSuite:
    """All choices of all questions as tokens.

    A context that is too long loses its beginning. A question is left out when one of its choices is longer than the
    model's context, or shares all of its tokens with the context: no comparison of the others would be fair.

    Args:
        context_length: tokens that the model can read; None for no limit.
        prefix: as in ``encode_pairs``.

    Raises:
        ProbeError: no question is left, or see ``encode_pairs``.
    """
    pairs = [pair for question in suite.questions for pair in question.texts()]
    encoded = encode_pairs(tokenizer, pairs, prefix=prefix)
    sizes = [len(moved(*pair)[1].encode()) for pair in pairs]
    questions, contexts, continuations, bytes = [], [], [], []
    cut = long = merged = first = 0
    for question in suite.questions:
        mine = range(first, first := first + len(question.choices))
        if not all(encoded[choice][1] for choice in mine):
            merged += 1
            continue
        fitted = [
            encoded[choice][0] if context_length is None else fit(*encoded[choice], context_length) for choice in mine
        ]
        kept = [context for context in fitted if context is not None]
        if len(kept) < len(fitted):
            long += 1
            continue
        cut += any(len(context) < len(encoded[choice][0]) for context, choice in zip(kept, mine, strict=True))
        questions.append(question)
        contexts += kept
        continuations += [encoded[choice][1] for choice in mine]
        bytes += [sizes[choice] for choice in mine]
    notes = _notes(suite, cut, long, merged, context_length)
    if not questions:
        raise ProbeError(f"no question is left: {'; '.join(notes)}; give a longer context_length or other questions")
    return EncodedSuite(
        replace(suite, questions=tuple(questions)) if len(questions) < len(suite.questions) else suite,
        contexts,
        continuations,
        np.array([len(ids) for ids in continuations], dtype=np.int64),
        np.array(bytes, dtype=np.int64),
        notes,
    )


def _notes(suite: Suite, cut: int, long: int, merged: int, context_length: int | None) -> tuple[str, ...]:
    count = len(suite.questions)
    said = (
        (cut, f"with the beginning of the context cut off to fit {context_length} tokens"),
        (long, f"left out: an answer is longer than {context_length} tokens"),
        (merged, "left out: the tokenizer joins an answer with its context, so it has no token of its own"),
    )
    return tuple(f"{suite.name}: {number} of {count} questions {what}" for number, what in said if number)
