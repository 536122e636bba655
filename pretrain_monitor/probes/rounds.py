"""What a round of probes found, as it is kept in the run log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..telemetry import spell_nonfinite
from .base import Scores

_DIGITS = 6  # of nats: a millionth of a nat is below what arithmetic leaves exact


@dataclass(frozen=True, slots=True)
class Round:
    """One probe's measurement at one step.

    Args:
        reason: why it was made there: start, early, regular, checkpoint, incident or end.
        seconds: how long it took.
        scores: by the part of a metric's name that its domain shares.
        learning_rate: of the step; None if nobody knows it.
    """

    step: int
    probe: str
    reason: str
    seconds: float
    scores: Mapping[str, Scores]
    notes: Sequence[str] = ()
    learning_rate: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, ``step`` first."""
        return {
            "step": self.step,
            "probe": self.probe,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "learning_rate": spell_nonfinite(self.learning_rate),
            "scores": {domain: scores_to_json(scores) for domain, scores in self.scores.items()},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Round:
        """
        Raises:
            KeyError, TypeError, ValueError: the record is damaged, or of a form that only a newer version knows.
        """
        if not isinstance(record["scores"], Mapping) or type(record["step"]) is not int:
            raise TypeError("scores by domain of a step are expected")
        scores = {str(domain): scores_from_json(part) for domain, part in record["scores"].items()}
        rate = record.get("learning_rate")
        return cls(
            record["step"],
            record["probe"],
            record["reason"],
            float(record["seconds"]),
            scores,
            tuple(record["notes"]),
            None if rate is None else float(rate),
        )


def scores_to_json(scores: Scores) -> dict[str, Any]:
    record = {
        "key": scores.key,
        "nats": [spell_nonfinite(round(float(nats), _DIGITS)) for nats in scores.nats],
        "tokens": scores.tokens.tolist(),
        "bytes": scores.bytes.tolist(),
    }
    if scores.right is not None:
        record["right"] = [int(right) for right in scores.right]
    return record


def scores_from_json(record: Mapping[str, Any]) -> Scores:
    """
    Raises:
        KeyError, TypeError, ValueError: not in the form that ``scores_to_json`` gives.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"scores are {type(record).__name__}")
    try:
        nats = np.array([float(value) for value in record["nats"]])
        tokens, sizes = (np.array(record[name], dtype=np.int64) for name in ("tokens", "bytes"))
        right = None if record.get("right") is None else np.array(record["right"], dtype=np.float64)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    if any(part.ndim != 1 for part in (nats, tokens, sizes, *([] if right is None else [right]))):
        raise ValueError("scores are a list, a number for each document")
    if (tokens < 0).any() or (sizes < 0).any():
        raise ValueError("fewer than no tokens or bytes")
    lengths = {len(part) for part in (nats, tokens, sizes, *([] if right is None else [right]))}
    if len(lengths) != 1:
        raise ValueError(f"scores of different lengths: {sorted(lengths)}")
    return Scores(nats, tokens, sizes, str(record["key"]), right)
