"""One cell of a log -> a number."""

from __future__ import annotations

import math
import re
from typing import Any

_WITH_COMMA = re.compile(r"\s*[-+]?\d[\d.]*(,\d+)+(\.\d+)?([eE][-+]?\d+)?\s*", re.ASCII)

_LARGEST_STEP = 2**62


class CellError(ValueError):
    """A cell that holds no number; the message completes "step 'one' ..."."""


def is_empty(value: Any) -> bool:
    """Whether nothing was logged there."""
    return value is None or value == "" or (isinstance(value, str) and value.isspace())


def number(value: Any) -> float:
    """The value of a cell, which may be NaN or infinite where that is what it spells.

    Raises:
        CellError: text, true or false, a list; a finite number that no float can hold; commas.
    """
    if type(value) is float:
        return value
    if isinstance(value, str):
        return _number_in(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CellError("is not a number")
    try:
        return float(value)
    except OverflowError:
        raise CellError("is not a number that a float can hold") from None


def _number_in(text: str) -> float:
    # float() also reads "1_000", which is Python's source, and the digits of other scripts.
    if "_" in text or not text.isascii():
        raise CellError("is not a number")
    try:
        value = float(text)
    except ValueError:
        raise _text_error(text, "is not a number") from None
    if math.isinf(value) and "inf" not in text.lower():
        raise CellError("is beyond the range of a float")
    return value


def step_number(value: Any) -> int:
    """The step in a cell: ``12``, ``"12"``, ``12.0``, ``"1.2e1"``.

    Raises:
        CellError: anything else, a fraction, or a number beyond 2**62.
    """
    step: int | None = None
    if type(value) is int:
        step = value
    elif isinstance(value, str) and value.isascii() and value.strip().lstrip("+-").isdigit() and len(value) < 40:
        step = int(value)  # not by way of a float, which has 53 bits
    else:
        try:
            as_float = number(value)
        except CellError:
            raise _text_error(value, "is not a whole number") from None
        if as_float.is_integer():
            step = int(as_float)
    if step is None or abs(step) >= _LARGEST_STEP:
        raise CellError("is not a whole number")
    return step


def _text_error(value: Any, problem: str) -> CellError:
    if isinstance(value, str) and _WITH_COMMA.fullmatch(value):
        problem += ": a comma may stand for decimals or for thousands; write 3.21 and 1000"
    return CellError(problem)
