"""One small training, and what each held-out document cost in each round of probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pretrain_monitor.demo.model import GPT
from pretrain_monitor.probes.base import Scores

from .scenarios import EVERY, STEPS, Scenario
from .texts import Texts

CONTEXT = 256
_PEAK = 1e-3
_MARGIN = 0.05  # of the steps, before the first round


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the held-out documents of each domain cost.

    Args:
        steps: shape (rounds,).
        nats: shape (rounds, documents), by domain.
        sizes: bytes that were scored of each document, shape (documents,), by domain.
    """

    steps: NDArray[np.int64]
    nats: dict[str, NDArray[np.float64]]
    sizes: dict[str, NDArray[np.int64]]

    def scores(self, number: int) -> dict[str, Scores]:
        """Of one round, by domain."""
        return {
            domain: Scores(values[number], self.sizes[domain], self.sizes[domain], domain)
            for domain, values in self.nats.items()
        }

    def save(self, path: Path) -> None:
        arrays = {f"nats/{domain}": values for domain, values in self.nats.items()}
        arrays |= {f"sizes/{domain}": values for domain, values in self.sizes.items()}
        np.savez_compressed(path, steps=self.steps, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Rounds:
        with np.load(path) as arrays:
            domains = [name.partition("/")[2] for name in arrays.files if name.startswith("nats/")]
            nats = {domain: arrays[f"nats/{domain}"] for domain in domains}
            sizes = {domain: arrays[f"sizes/{domain}"] for domain in domains}
            return cls(arrays["steps"], nats, sizes)


def train(scenario: Scenario, texts: Texts, device: torch.device, *, steps: int, layers: int, width: int) -> Rounds:
    """Run one scenario; its steps and those of the rounds are stretched from ``STEPS`` to ``steps``."""
    torch.manual_seed(scenario.seed)
    model = GPT(layers=layers, width=width, heads=max(width // 64, 1), context=CONTEXT).to(device)
    on_device = device.type == "cuda"
    rates = [scenario.rate(step * STEPS // steps, STEPS, _PEAK) for step in range(steps)]
    # On a GPU the rate is a tensor, so that one recorded step serves them all.
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=torch.zeros((), device=device),
        betas=(0.9, 0.95),
        weight_decay=0.1,
        fused=on_device,
        capturable=on_device,
    )
    corpus = torch.from_numpy(np.concatenate(list(texts.train.values()))).to(device)
    starts = torch.from_numpy(_starts(scenario, texts, steps)).to(device)
    rates_there = torch.tensor(rates, device=device)
    counter = torch.zeros(1, dtype=torch.int64, device=device)
    along = torch.arange(CONTEXT + 1, device=device)

    def step() -> None:
        # Not rates_there[counter[0]], for which the host would have to know the number.
        optimizer.param_groups[0]["lr"].copy_(rates_there.index_select(0, counter)[0])
        ids = corpus[starts.index_select(0, counter)[0][:, None] + along].long()
        with torch.autocast(device.type, torch.bfloat16, enabled=on_device):
            logits = model(ids[:, :-1])["logits"]
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        counter.add_(1)

    take, done = (_recorded(step), 4) if on_device else (step, 0)
    held_out = {domain: _Windows(texts.held_out[domain], texts.sizes[domain], device) for domain in texts.train}
    at = sorted({planned * steps // STEPS for planned in range(EVERY, STEPS + 1, EVERY)})
    at = [n for n in at if n >= _MARGIN * steps]
    nats: dict[str, list[NDArray[np.float64]]] = {domain: [] for domain in held_out}
    for n in at:
        for _ in range(n - done):
            take()
        done = n
        for domain, windows in held_out.items():
            nats[domain].append(windows.nats(model, on_device))
    return Rounds(
        np.array(at),
        {domain: np.stack(values) for domain, values in nats.items()},
        {domain: windows.sizes for domain, windows in held_out.items()},
    )


def _starts(scenario: Scenario, texts: Texts, steps: int) -> NDArray[np.int64]:
    """Where each row of each batch begins in the joined corpus, shape (steps, rows)."""
    random = np.random.default_rng(scenario.seed)
    domains = list(texts.train)
    lengths = np.array([len(texts.train[domain]) for domain in domains])
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rows = []
    for step in range(steps):
        shares = scenario.shares(domains, step * STEPS // steps)
        of = random.choice(len(domains), size=scenario.rows, p=shares)
        rows.append(offsets[of] + (random.random(scenario.rows) * (lengths[of] - CONTEXT - 1)).astype(np.int64))
    return np.stack(rows)


def _recorded(step: Callable[[], None]) -> Callable[[], None]:
    """A step as a CUDA graph: a model as small as this spends most of a step launching kernels. Takes four steps."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(4):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class _Windows:
    """Held-out documents of a domain cut into windows that do not overlap; a window's first byte is not scored."""

    def __init__(self, text: NDArray[np.uint8], sizes: NDArray[np.int64], device: torch.device) -> None:
        rows, scored, owners = [], [], []
        begin = 0
        for number, size in enumerate(sizes):
            for start in range(begin, begin + int(size) - 1, CONTEXT):
                part = text[start : min(start + CONTEXT + 1, begin + int(size))]
                rows.append(np.pad(part, (0, CONTEXT + 1 - len(part))))
                scored.append(np.arange(CONTEXT) < len(part) - 1)
                owners.append(number)
            begin += int(size)
        self._rows = torch.from_numpy(np.stack(rows)).long().to(device)
        self._scored = torch.from_numpy(np.stack(scored)).to(device)
        self._owners = torch.tensor(owners, device=device)
        self.sizes = np.bincount(owners, self._scored.sum(1).cpu().numpy(), minlength=len(sizes)).astype(np.int64)

    @torch.no_grad()
    def nats(self, model: torch.nn.Module, is_bf16: bool) -> NDArray[np.float64]:
        with torch.autocast(self._rows.device.type, torch.bfloat16, enabled=is_bf16):
            logits = model(self._rows[:, :-1])["logits"]
        each = F.cross_entropy(logits.float().transpose(1, 2), self._rows[:, 1:], reduction="none") * self._scored
        totals = torch.zeros(len(self.sizes), dtype=torch.float64, device=each.device)
        return totals.index_add_(0, self._owners, each.double().sum(1)).cpu().numpy()
