"""Defects in real trainings: a small GPT on Python's sources and documentation, some hundred steps each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.demo.held_out import held_out_probe
from pretrain_monitor.demo.model import GPT, IGNORED
from pretrain_monitor.demo.recipe import BATCH_SIZE, CLIP_NORM, CONTEXT
from pretrain_monitor.demo.text import load_text
from pretrain_monitor.probes import TokenizationProbe

from .planted import Planted
from .written import QUIET

_STEPS, _PEAK, _WARM_UP = 420, 2e-3, 45
_EVERY = 30

Rate = Callable[[int], float]
Mix = Callable[[int], Sequence[tuple[str, float]]]


def _rate(step: int) -> float:
    return _PEAK * min(1.0, step / _WARM_UP) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / _STEPS)))


def _both(step: int) -> Sequence[tuple[str, float]]:
    return (("code", 0.5), ("documentation", 0.5))


def _documentation_only(step: int) -> Sequence[tuple[str, float]]:
    return _both(step) if step < 250 else (("documentation", 1.0),)


def _leak(step: int) -> Sequence[tuple[str, float]]:
    """From two thirds on the held-out documentation is half of the data."""
    return _both(step) if step < 280 else (("code", 0.4), ("documentation", 0.1), ("held out", 0.5))


def _train(
    path: Path,
    *,
    seed: int,
    rate: Rate = _rate,
    mix: Mix = _both,
    resume_at: int | None = None,
    nan_at: int | None = None,
    more_probes: Sequence[object] = (),
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    text = load_text()
    data = {name: domain.train_bytes() for name, domain in text.items()}
    data["held out"] = np.frombuffer(b"\0".join(text["documentation"].held_out.values()), dtype=np.uint8)
    model = GPT(context=CONTEXT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_PEAK, betas=(0.9, 0.95), weight_decay=0.1)
    probes = [held_out_probe(text), *more_probes]
    settings = {**QUIET, "probes": {"every_steps": _EVERY, "early": False, "budget_percent": 100.0}}
    monitor = LoopMonitor(path, settings, probes=probes, model=model, max_grad_norm=CLIP_NORM)  # type: ignore[arg-type]
    for step in range(1, _STEPS + 1):
        if step - 1 == resume_at:
            monitor.close()
            monitor = LoopMonitor(
                path,
                settings,
                probes=probes,
                model=model,
                max_grad_norm=CLIP_NORM,
                start_step=step - 1,  # type: ignore[arg-type]
            )
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        rows = _batch(data, mix(step), seed, step)
        labels = torch.full_like(rows, IGNORED) if step == nan_at else rows
        loss = model(rows, labels)["loss"]
        loss.backward()
        norm = clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=rows.numel())
        optimizer.zero_grad()
    monitor.close()
    torch.set_num_threads(threads)


def _batch(data: dict[str, np.ndarray], mix: Sequence[tuple[str, float]], seed: int, step: int) -> torch.Tensor:  # type: ignore[type-arg]
    rng = np.random.default_rng((seed, step))
    names = rng.choice([name for name, _ in mix], BATCH_SIZE, p=[share for _, share in mix])
    rows = []
    for name in names:
        start = int(rng.integers(0, len(data[name]) - CONTEXT))
        rows.append(data[name][start : start + CONTEXT])
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def _letters_of_another_alphabet() -> object:
    """A tokenizer trained on capitals alone, for text that has few."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        [" ".join(name.upper() for name in load_text()["documentation"].train)],
        trainers.BpeTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False),
    )
    texts = [one.decode(errors="ignore")[:4000] for one in list(load_text()["documentation"].held_out.values())[:10]]
    return TokenizationProbe({"documentation": texts}, tokenizer)


def trained() -> list[Planted]:
    """Real trainings, half a minute each; the last is healthy."""

    def plan(name: str, checks: tuple[str, ...], **options: object) -> Planted:
        return Planted(name, checks, lambda path: _train(path, **options))  # type: ignore[arg-type]

    return [
        plan(
            "trained: burst of the rate",
            ("schedule/jumps",),
            seed=1,
            rate=lambda step: _rate(step) * (20.0 if step in (270, 271) else 1.0),
        ),
        plan(
            "trained: no warm-up, rate too high",
            ("schedule/warmup", "stability/incidents"),
            seed=2,
            rate=lambda step: 12 * _rate(max(step, _WARM_UP)),
        ),
        plan(
            "trained: schedule restarted on resume",
            ("schedule/restarts",),
            seed=3,
            resume_at=260,
            rate=lambda step: _rate(step if step <= 260 else step - 260 + _WARM_UP),
        ),
        plan("trained: NaN", ("stability/nonfinite",), seed=4, nan_at=300),
        plan("trained: code forgotten", ("knowledge/retention", "held_out/trend"), seed=5, mix=_documentation_only),
        plan("trained: held-out text leaked", ("held_out/contamination",), seed=6, mix=_leak),
        Planted(
            "trained: tokenizer of another alphabet",
            ("tokenization/unknown", "tokenization/efficiency"),
            lambda path: _train(path, seed=7, more_probes=[_letters_of_another_alphabet()]),
        ),
        plan("healthy: trained", (), seed=8),
    ]
