"""The batches of a demo run: windows of real text in an order given by the seed, with the planned faults in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from .model import IGNORED, VOCABULARY
from .plan import Plan
from .text import DOMAINS, Domain

Row = dict[str, Tensor]


class PlannedRows(IterableDataset[Row]):
    """Rows ``{"input_ids", "labels"}`` of shape (context,) for a ``DataLoader`` with ``batch_size=batch_size``.

    What row a step gets depends on the seed and the step alone, so every framework trains on the same batches.
    """

    def __init__(self, text: dict[str, Domain], plan: Plan, *, batch_size: int, context: int, seed: int) -> None:
        self._text = {name: text[name].train_bytes() for name in DOMAINS}
        self._plan = plan
        self._batch_size = batch_size
        self._context = context
        self._seed = seed

    def __iter__(self) -> Iterator[Row]:
        for step in range(1, self._plan.steps + 1):
            input_ids, labels = self.batch(step)
            for row in range(self._batch_size):
                yield {"input_ids": input_ids[row], "labels": labels[row]}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Input bytes and labels of one optimizer step, both of shape (batch size, context)."""
        random = np.random.default_rng((self._seed, step))
        if self._plan.is_corrupted(step):
            windows = random.integers(0, VOCABULARY, (self._batch_size, self._context), dtype=np.uint8)
        else:
            text = self._text[self._plan.domain(step)]
            starts = random.integers(0, len(text) - self._context, self._batch_size)
            windows = np.stack([text[start : start + self._context] for start in starts])
        input_ids = torch.from_numpy(windows.astype(np.int64))
        labels = torch.full_like(input_ids, IGNORED) if self._plan.is_unlabelled(step) else input_ids.clone()
        return input_ids, labels
