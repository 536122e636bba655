"""How far two models are apart on the same texts, whatever tokenizers they have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .averages import bits_per_byte
from .base import Scores
from .paired import is_per_byte, level, paired_change

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


def are_same_documents(one: Scores, other: Scores) -> bool:
    """Whether two measurements are of the same documents: by their key or, where tokenizers differ, by their bytes.

    >>> import numpy as np
    >>> def scores(tokens, key):
    ...     return Scores(np.ones(2), np.array(tokens), np.array([30, 50]), key)
    >>> are_same_documents(scores([10, 20], "words"), scores([30, 50], "letters"))
    True
    """
    if len(one.nats) != len(other.nats):
        return False
    return one.key == other.key or (is_per_byte(one) and is_per_byte(other) and np.array_equal(one.bytes, other.bytes))


def gap(before: Scores, after: Scores) -> Gap | None:
    """What ``after`` needs more than ``before``; None where there is no unit to compare them in."""
    if are_same_documents(before, after):
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
