"""How long probes take, beside the bare forward pass and beside lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pretrain_monitor.probes.choice import ChoiceProbe
from pretrain_monitor.probes.perplexity import PerplexityProbe
from pretrain_monitor.probes.questions import Suite

from .agreement import MakeHarness, pairs_of
from .figures import Figure
from .turns import in_turns, ratio, timed

BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # of lm-evaluation-harness; the quickest on a third of the questions is taken
SHARE_OF_FORWARD, TIMES_AS_FAST = 0.9, 1.5

_CHECK = 8  # tokens on which a probe checks how it may read the model; no part of what it measures


def batches_read(model: Any, job: Callable[[], object]) -> list[Tensor]:
    """The token ids that a Hugging Face model is given while a job runs."""
    batches: list[Tensor] = []

    def keep(module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        batches.append(given["input_ids"].clone())

    hook = model.base_model.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        job()
    finally:
        hook.remove()
    return [ids for ids in batches if ids.numel() > _CHECK]


def bare_forward(model: Any, batches: Sequence[Tensor]) -> None:
    """What nobody can do without: the logits of every batch."""
    with torch.no_grad():
        for ids in batches:
            model(input_ids=ids, use_cache=False)


def of_perplexity(model: Any, tokenizer: Any, domain: str, texts: list[str], turns: int) -> list[Figure]:
    """Tokens per second of the perplexity probe and of the bare forward pass on the same batches."""
    probe = PerplexityProbe({domain: texts}, tokenizer)
    batches = batches_read(model, lambda: probe(model))
    tokens = sum(document.scored for document in probe.domains[domain].documents)
    took = in_turns({"probe": lambda: probe(model), "bare": lambda: bare_forward(model, batches)}, turns)
    clock, processor = (ratio(took["bare"], took["probe"], of=of) for of in ("clock", "processor"))
    best = {name: tokens / min(one.clock for one in times) for name, times in took.items()}
    return [
        Figure(
            f"perplexity of {tokens:,} tokens in {len(batches)} batches: tokens/s",
            f"{best['probe']:.0f}",
            f"{best['bare']:.0f} (bare forward)",
            f"{clock} of it; processor time {processor}",
            f">= {SHARE_OF_FORWARD}",
            clock.middle >= SHARE_OF_FORWARD,
        )
    ]


def of_choice(
    model: Any, tokenizer: Any, suite: Suite, make: MakeHarness, context_length: int, turns: int
) -> list[Figure]:
    """Questions per second of the choice probe and of lm-evaluation-harness at its best batch size.

    On both sides the texts are encoded anew each time. What a probe does only once, it does each time as well: try
    whether the model reads answers right that share a row.
    """
    pairs = pairs_of(suite)
    probes: list[ChoiceProbe] = []

    def first() -> None:
        probes[:] = [ChoiceProbe({suite.name: suite}, tokenizer, context_length=context_length)]
        probes[0](model)

    def harness(size: int, asked: list[tuple[str, str]]) -> Callable[[], object]:
        return lambda: make(batch_size=size, context_length=context_length).continuations(asked)

    third = pairs_of(suite.spread(-(-len(suite.questions) // 3)))
    sizes = {size: timed(harness(size, third)).clock for size in BATCH_SIZES}
    best = min(sizes, key=lambda size: sizes[size])
    first()
    jobs = {"first": first, "again": lambda: probes[0](model), "harness": harness(best, pairs)}
    took = in_turns(jobs, turns)
    whole, again = (ratio(took["harness"], took[name]) for name in ("first", "again"))
    processor = ratio(took["harness"], took["first"], of="processor")
    count = len(suite.questions)
    rates = {name: count / min(one.clock for one in times) for name, times in took.items()}
    return [
        Figure(
            f"{suite.name}, {count} questions: questions/s",
            f"{rates['first']:.2f}",
            f"{rates['harness']:.2f} ({best} rows at a time)",
            f"{whole} times as fast; processor time {processor}",
            f">= {TIMES_AS_FAST}",
            whole.middle >= TIMES_AS_FAST,
        ),
        Figure("the same from its second round on", f"{rates['again']:.2f}", "", f"{again} times as fast"),
    ]
