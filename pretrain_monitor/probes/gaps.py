"""How far two models are apart on the same texts, whatever tokenizers they have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .averages import bits_per_byte
from .base import Scores
from .paired import is_per_byte, level, paired_change
from .results import REFERENCE, ModelResult, other_reading

_TWO_SIDED_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Gap:
    """What one model needs more than another: below 0 it is the better one.

    Args:
        value: in bits per byte; in nats per token where the bytes are unknown.
        lower: of a 95 % interval, as ``upper``; None where a single document allows none.
        is_paired: whether the documents are known to be the same, which makes the interval several times narrower.
    """

    value: float
    standard_error: float | None
    lower: float | None
    upper: float | None
    is_paired: bool

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.lower is not None and self.upper is not None and (self.lower > 0 or self.upper < 0)


def are_same_documents(one: Scores, other: Scores, *, has_one_source: bool = False) -> bool:
    """Whether two measurements are of the same documents: by their key or, where tokenizers differ, by their bytes.

    Documents that are all of one size, as pieces of a text are and answers of a letter, are known by their key alone.

    Args:
        has_one_source: both were given the same texts, and differ at most in what was left out of them.

    >>> import numpy as np
    >>> def scores(tokens, key):
    ...     return Scores(np.ones(2), np.array(tokens), np.array([30, 50]), key)
    >>> are_same_documents(scores([10, 20], "words"), scores([30, 50], "letters"))
    True
    """
    if len(one.nats) != len(other.nats):
        return False
    if one.key == other.key:
        return True
    is_alike = is_per_byte(one) and is_per_byte(other) and np.array_equal(one.bytes, other.bytes)
    return is_alike and (has_one_source or len(one.bytes) == 1 or bool((one.bytes != one.bytes[0]).any()))


def gap(before: Scores, after: Scores, *, has_one_source: bool = False) -> Gap | None:
    """What ``after`` needs more than ``before``; None where there is no unit to compare them in.

    Args:
        has_one_source: as in ``are_same_documents``.
    """
    if are_same_documents(before, after, has_one_source=has_one_source):
        change = paired_change(replace(before, key=after.key), after)
        return Gap(change.change, change.standard_error, change.lower, change.upper, True)
    if not (is_per_byte(before) and is_per_byte(after)):
        return None  # nats per token of two tokenizers have nothing in common
    value = level(after) - level(before)
    errors = [found[1] for scores in (before, after) if (found := bits_per_byte(scores)) is not None]
    error = math.hypot(*errors)
    if len(errors) < 2 or not math.isfinite(error):
        return Gap(value, None, None, None, False)
    reach = _TWO_SIDED_95 * error
    return Gap(value, error, value - reach, value + reach, False)


def notes_on_gaps(reference: ModelResult, measured: Mapping[str, tuple[Scores, str | None]]) -> list[str]:
    """Of which domains and tasks there is no gap to a reference, or not quite one: each note once.

    Args:
        measured: by name, the scores of a model, and how it read its documents, in words, where it is known.
    """
    about: dict[str, list[str]] = {}
    for name, (own, reading) in measured.items():
        for note in _notes_on_gap(reference, name, own, reading):
            about.setdefault(note, []).append(name)
    return [note if len(names) == len(measured) else f"{note} ({few(names)})" for note, names in about.items()]


def _notes_on_gap(reference: ModelResult, name: str, own: Scores, reading: str | None) -> list[str]:
    other = reference.scores.get(name)
    if other is None:
        return [f"no gap: {REFERENCE} was not measured on this"]
    found = gap(other, own)
    if found is None:
        return [f"no gap: {REFERENCE} has other documents, tokens or windows, and bytes are unknown"]
    notes = []
    if not found.is_paired:
        notes.append(f"not paired: {REFERENCE} is not known to have read the same, so the gap is that of two samples")
    # Other tokenizers differ in tokens as well.
    elif own.right is not None and own.key != other.key and np.array_equal(own.tokens, other.tokens):
        notes.append(f"{REFERENCE} was asked in another way: by context length, prefix, tokenizer or questions")
    if (note := other_reading(reference, name, reading)) is not None:
        notes.append(note)
    return notes


def few(names: Sequence[str]) -> str:
    """
    >>> few(["law", "code", "novels", "news", "mail"])
    'law, code, novels and 2 more'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
