"""What a probe is and what it returns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class ProbeError(ValueError):
    """A probe that cannot be set up or cannot measure; the message is one line for the user."""


class Probe(Protocol):
    """Anything with a name that measures a model: returns values by metric name, or a ``ProbeResult``."""

    @property
    def name(self) -> str: ...

    def __call__(self, model: Any) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class Scores:
    """What each document of a domain, or each question of a suite, cost the model: what pairs two rounds.

    Args:
        nats: shape (documents,), summed negative log-likelihood of the scored tokens of each.
        tokens: shape (documents,), how many were scored.
        bytes: shape (documents,), UTF-8 bytes of the scored text; zeros where nobody knows.
        key: names the documents and how they were cut and tokenized; only scores with the same key can be paired.
        right: shape (documents,), 1.0 for a question answered correctly, else 0.0; None for text.
    """

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    key: str
    right: NDArray[np.float64] | None = None


class ProbeResult(dict[str, float]):
    """Values by metric name, with what they were made of.

    Args:
        metrics: such as ``heldout/code/bits_per_byte``.
        scores: by the part of a metric's name that its domain shares, such as ``heldout/code``.
        notes: facts about the measurement, for people: how long documents were cut, what was left out.
    """

    def __init__(
        self,
        metrics: Mapping[str, float],
        scores: Mapping[str, Scores] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(metrics)
        self.scores = dict(scores or {})
        self.notes = tuple(notes)


def checked_name(name: Any, what: str) -> str:
    """A name that can be a part of a metric's name and of a TensorBoard tag.

    Raises:
        ProbeError: it cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ProbeError(f"{what} {name!r}: a name is made of letters, digits, dots, dashes and underscores")
    return name
