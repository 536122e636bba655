"""lm-evaluation-harness, asked for the likelihood of texts and of continuations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any


class Harness:
    """Its Hugging Face model around a model and a tokenizer that are there already.

    Args:
        batch_size: rows that it reads at a time.
        is_exact: let it take its softmax in float64. In float32, its default, torch's log_softmax on a CPU adds the
            exponentials of a large vocabulary one after another, which loses some 9e-6 nats at every token.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, batch_size: int, context_length: int, is_exact: bool = False
    ) -> None:
        from lm_eval.models.huggingface import HFLM

        logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of a model that is not named by a string
        self._model = HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=context_length,
            softmax_dtype="float64" if is_exact else None,
        )

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding gives it."""
        return list(self._model.loglikelihood(_asked("loglikelihood", pairs), disable_tqdm=True))

    def texts(self, texts: Sequence[str]) -> list[float]:
        """Log-likelihood of each text, in windows where it is longer than the context."""
        requests = _asked("loglikelihood_rolling", [(text,) for text in texts])
        return list(self._model.loglikelihood_rolling(requests, disable_tqdm=True))


def _asked(kind: str, arguments: Sequence[tuple[str, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]
