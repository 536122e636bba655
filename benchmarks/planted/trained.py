"""Real small trainings on real text, healthy or with one thing done wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import clip_grad_norm_

from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.demo.model import GPT, IGNORED
from pretrain_monitor.demo.text import DOMAINS, SEPARATOR, load_text
from pretrain_monitor.probes.choice import ChoiceProbe
from pretrain_monitor.probes.perplexity import PerplexityProbe
from pretrain_monitor.probes.tokenizers import Tokenizer

from .runs import QUIET
from .tokenizers import texts

_ROWS, _CONTEXT = 16, 64
_CLIP_NORM = 1.0
_PIECES, _PIECE = 20, 500  # held-out documents of each domain, and bytes of each
_QUESTIONS, _ASKED, _ANSWER = 40, 40, 16  # bytes of a context and of a choice


@dataclass(frozen=True, slots=True)
class Training:
    """A recipe; steps count from 1.

    Args:
        rate: peak learning rate, from which a cosine falls to a tenth.
        warm_up: steps; 0 for none.
        resumes_at: step after which another process goes on; None for never.
        restarts_rate: whether that process has forgotten where in its schedule it was.
        documentation: share of the rows; the others are code.
        only_russian_from: step from which there is neither code nor documentation any more; None for never.
        leaks_from: step from which three quarters of the rows are held-out documentation.
        unlabelled_at: step whose batch has nothing to learn from, whose mean loss is 0/0.
        windows: distinct rows to train on, again and again; None to draw from the whole text.
    """

    seed: int
    steps: int = 400
    rate: float = 2e-3
    warm_up: int = 40
    resumes_at: int | None = None
    restarts_rate: bool = False
    documentation: float = 0.5
    only_russian_from: int | None = None
    leaks_from: int | None = None
    unlabelled_at: int | None = None
    windows: int | None = None

    def learning_rate(self, step: int) -> float:
        if self.restarts_rate and self.resumes_at is not None and step > self.resumes_at:
            step -= self.resumes_at
        warm = min(1.0, step / self.warm_up) if self.warm_up else 1.0
        return self.rate * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * step / self.steps)))

    def write(self, folder: Path) -> None:
        """Train, watched."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the same sums in the same order
        try:
            torch.manual_seed(self.seed)
            model = GPT(layers=2, width=64, heads=4, context=_CONTEXT)
            optimizer = torch.optim.AdamW(model.parameters(), lr=self.rate, betas=(0.9, 0.95), weight_decay=0.1)
            first = 1
            for last in (self.steps,) if self.resumes_at is None else (self.resumes_at, self.steps):
                self._session(folder, model, optimizer, first, last)
                first = last + 1
        finally:
            torch.set_num_threads(threads)

    def _session(self, folder: Path, model: GPT, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
        config = {**QUIET, "probes": {"every_steps": 50, "early": False, "budget_percent": 1e6}}
        with LoopMonitor(
            folder, config, probes=_probes(), model=model, start_step=first - 1, max_grad_norm=_CLIP_NORM
        ) as monitor:
            for step in range(first, last + 1):
                for group in optimizer.param_groups:
                    group["lr"] = self.learning_rate(step)
                ids = torch.from_numpy(self.batch(step))
                labels = torch.full_like(ids, IGNORED) if step == self.unlabelled_at else ids
                loss = model(ids, labels)["loss"]
                optimizer.zero_grad()
                loss.backward()
                norm = clip_grad_norm_(model.parameters(), _CLIP_NORM)
                optimizer.step()
                monitor.step(loss=loss.item(), grad_norm=norm.item(), optimizer=optimizer, tokens=ids.numel())
            if last < self.steps:
                monitor.close("interrupted")

    def batch(self, step: int) -> NDArray[np.int64]:
        """Bytes of one step, shape (rows, context)."""
        draw = step if self.windows is None else step % max(self.windows // _ROWS, 1)
        random = np.random.default_rng((self.seed, draw))
        is_documentation = random.random(_ROWS) < self.documentation
        domains = ["documentation" if chosen else "code" for chosen in is_documentation]
        if self.only_russian_from is not None and step >= self.only_russian_from:
            domains = ["russian"] * _ROWS
        if self.leaks_from is not None and step >= self.leaks_from:
            domains[: _ROWS * 3 // 4] = ["leaked"] * (_ROWS * 3 // 4)
        return np.stack([_window(random, _text(domain)) for domain in domains]).astype(np.int64)


@lru_cache(maxsize=4)
def _text(domain: str) -> NDArray[np.uint8]:
    if domain == "leaked":
        return _joined(held_out()["documentation"])
    return _joined(texts()[domain]) if domain == "russian" else load_text()[domain].train_bytes()


@lru_cache(maxsize=1)
def held_out() -> dict[str, list[str]]:
    """Pieces of documents that are never trained on, unless they leak."""
    found = {}
    for name in DOMAINS:
        documents = [content.decode("ascii", errors="ignore") for content in load_text()[name].held_out.values()]
        pieces = [
            document[start : start + _PIECE]
            for document in documents
            for start in range(0, len(document) - _PIECE + 1, _PIECE)
        ]
        found[name] = pieces[:: max(len(pieces) // _PIECES, 1)][:_PIECES]
    return found


def _joined(documents: list[str]) -> NDArray[np.uint8]:
    return np.frombuffer("".join(documents).encode(), dtype=np.uint8)


def _window(random: np.random.Generator, text: NDArray[np.uint8]) -> NDArray[np.uint8]:
    start = int(random.integers(0, len(text) - _CONTEXT))
    return text[start : start + _CONTEXT]


def _bytes() -> Tokenizer:
    return Tokenizer(
        "bytes",
        lambda texts: [list(one.encode()) for one in texts],
        decode=lambda ids: bytes(ids).decode(errors="replace"),
        prefix_id=SEPARATOR[0],
    )


def _probes() -> list[PerplexityProbe | ChoiceProbe]:
    return [
        PerplexityProbe(held_out(), _bytes(), context_length=_CONTEXT),
        ChoiceProbe({"continuations": _questions()}, _bytes(), context_length=_CONTEXT),
    ]


def _questions() -> list[dict[str, object]]:
    """How a text goes on: the right way, or with the same letters in another order."""
    random = np.random.default_rng(0)
    questions: list[dict[str, object]] = []
    for piece in (held_out()["code"] * 2)[:_QUESTIONS]:
        start = int(random.integers(0, _PIECE - _ASKED - _ANSWER))
        answer = piece[start + _ASKED :][:_ANSWER]
        others = ["".join(random.permutation(list(answer))) for _ in range(3)]
        choices = list(dict.fromkeys([answer, *others]))
        if len(choices) == 4:
            questions.append({"context": piece[start:][:_ASKED], "choices": choices, "answer": 0})
    return questions
