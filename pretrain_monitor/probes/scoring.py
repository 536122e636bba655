"""What rows of tokens cost a model, in nats: batch by batch, shared between ranks, and in parts when memory ends."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import ProbeError
from .language_model import LanguageModel
from .meeting import ElsewhereError
from .neutral import neutral
from .ranks import Ranks
from .rows import Row, in_batches, padded, padded_masks

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

_NO_TROUBLE, _TOO_MANY_ROWS, _NO_WAY_OUT, _BROKEN = range(4)  # the ranks agree on the largest

# Tokens in whose time a forward pass is begun: so much padding costs less than another one.
_START_CPU, _START_DEVICE = 64, 1024

# The largest block whose return teaches the C library anything, less what it adds itself.
_KEPT_BYTES = 2**25 - 2**14

# In how many pieces batches of so many tokens are read, once memory has run out: it would again in the next round.
_parts: weakref.WeakKeyDictionary[torch.nn.Module, dict[int, int]] = weakref.WeakKeyDictionary()


class _Found(NamedTuple):
    """Of each prediction, still on its device: its owner, and three numbers.

    values: shape (3, predictions), the sum of exp(logit - largest logit), the largest logit, and the target's own.
    """

    owners: NDArray[np.int64]
    values: Tensor


@dataclass(frozen=True, slots=True)
class Costs:
    """By owner, as numbered in the rows.

    Args:
        nats: shape (owners,), summed negative log-likelihood of what was asked.
        greedy: shape (owners,), whether the model's first choice was right each time.
    """

    nats: NDArray[np.float64]
    greedy: NDArray[np.bool_]


def score(
    model: LanguageModel,
    rows: Sequence[Row],
    owners: int,
    *,
    batch_tokens: int = 4096,
    progress: Progress | None = None,
) -> Costs:
    """Ask a model for every prediction that the rows name. Leaves the model and all random states as they were.

    Every rank calls it with the same rows; each computes its share, and all get the whole result. What a batch holds
    does not depend on the number of ranks, so neither do the numbers.

    Args:
        owners: how many documents or answers there are.
        batch_tokens: tokens read at a time, padding included; halved from then on when memory runs out.
        progress: told how many of the tokens have been read, now and then.

    Raises:
        ProbeError: no memory for a single row, a token that the model does not know, or a model that returns no logits.
            On all ranks if it happens on one.
    """
    ranks = Ranks(model)
    ranks.begin(rows)
    _check_ids(model, rows)
    parts = _parts.setdefault(model.root, {})
    is_cpu = model.device.type == "cpu"
    if is_cpu:
        _keep_memory()
    batches = in_batches(rows, batch_tokens, _START_CPU if is_cpu else _START_DEVICE)
    work = _Work(model, rows, owners, batches, ranks, progress, parts.get(batch_tokens, 1))
    with neutral(model.root), ranks.watching():
        problem = ranks.first_problem(work.run)
    if problem is not None:
        raise ProbeError(problem)
    parts[batch_tokens] = work.parts
    nats, misses = ranks.summed(np.stack([work.nats, work.misses]))
    return Costs(nats, misses == 0)


class _Work:
    """The batches of one measurement, and what this rank has found so far."""

    def __init__(
        self,
        model: LanguageModel,
        rows: Sequence[Row],
        owners: int,
        batches: list[list[int]],
        ranks: Ranks,
        progress: Progress | None,
        parts: int,
    ) -> None:
        self.parts = parts  # how many pieces a batch is read in
        self.nats = np.zeros(owners)
        self.misses = np.zeros(owners)
        self._model = model
        self._rows = rows
        self._batches = batches
        self._ranks = ranks
        self._progress = progress
        self._total = sum(map(len, rows))
        self._done = 0
        self._broken_by: Exception | None = None
        # Read at the end: waiting for each batch would leave the device idle between two of them.
        self._found: list[_Found] = []

    def run(self) -> None:
        if self._batches:
            first = self._rows[self._batches[0][0]]
            few = torch.from_numpy(first.ids[None, :8]).to(self._model.device)
            self._model.check_head(few)
            self._ranks.learn(lambda: list(self._model.predictions(few, torch.zeros_like(few[0, :1]))))
        for turn in self._ranks.turns(len(self._batches)):
            number, counts = turn
            batch = [self._rows[row] for row in self._batches[number]]
            self._read(batch, counts=counts)
            if counts:
                self._done += sum(map(len, batch)) * self._ranks.sharing
                self._tell_progress()
        self._collect()

    def _tell_progress(self) -> None:
        try:
            if self._progress is not None:
                self._progress(min(self._done, self._total), self._total)
        except Exception:
            # On this rank alone: between two forward passes that all ranks make together it must not end the work.
            self._progress = None
            logger.exception("the progress of a probe cannot be shown; it goes on")

    def _read(self, batch: list[Row], *, counts: bool) -> None:
        """A batch in as many pieces as memory asks for; ranks that make each forward pass together cut it alike."""
        while True:
            found = []
            for piece in self._pieces(batch):
                costs, trouble = self._try(piece or batch[-1:])
                trouble = self._ranks.worst(trouble)
                if trouble:
                    break
                if piece and costs is not None:
                    found.append(costs)
            else:
                self._found += found if counts else []
                return
            del costs, found
            if trouble == _BROKEN:
                raise self._broken_by or ElsewhereError
            if trouble == _NO_WAY_OUT:
                longest = max(map(len, batch))
                raise ProbeError(
                    f"out of memory with a single row of {longest:,} tokens: give a smaller context_length"
                )
            self.parts *= 2
            _free(self._model.device)
            logger.warning("a probe ran out of memory and goes on with a %s of the batch", _share(self.parts))

    def _pieces(self, batch: list[Row]) -> list[list[Row]]:
        """Some may be empty: where ranks go together, each goes as often as the others."""
        rows = -(-len(batch) // self.parts)
        pieces = [batch[start : start + rows] for start in range(0, len(batch), rows)]
        if self._ranks.go_together:
            pieces += [[]] * (self.parts - len(pieces))
        return pieces

    def _try(self, rows: list[Row]) -> tuple[_Found | None, int]:
        self._ranks.start_forward()
        try:
            return self._costs(rows), _NO_TROUBLE
        except Exception as error:
            is_memory = _is_out_of_memory(error)
            if not is_memory and not self._ranks.go_together:
                raise
            # Its trace holds what the forward pass had in memory.
            self._broken_by = None if is_memory else error.with_traceback(None)
        self._ranks.catch_up()
        if not is_memory:
            return None, _BROKEN
        return None, _TOO_MANY_ROWS if len(rows) > 1 else _NO_WAY_OUT

    def _costs(self, rows: list[Row]) -> _Found:
        device = self._model.device
        ids = padded(rows)
        width = ids.shape[1]
        flat = np.concatenate([row.at + number * width for number, row in enumerate(rows)])
        wanted = np.concatenate([row.targets for row in rows])
        largest = int(wanted.max(initial=0))
        targets = torch.from_numpy(wanted).to(device, non_blocking=True)
        sees = positions = None
        if trees := [row.tree for row in rows if row.tree is not None]:
            sees, positions = (torch.from_numpy(part).to(device) for part in padded_masks(trees, width))
        # Said out loud: a trainer may have made another dtype the default.
        found = torch.empty(3, len(flat), dtype=torch.float32, device=device)
        for part, logits in self._model.predictions(
            torch.from_numpy(ids).to(device),
            torch.from_numpy(flat).to(device),
            sees=sees,
            positions=positions,
        ):
            if largest >= logits.shape[-1]:
                # Fewer than its embedding knows, or it has none. To look for one would end the process on CUDA.
                raise ProbeError(
                    f"the tokenizer gives token {largest}, the model predicts {logits.shape[-1]:,}: it was trained "
                    "with another tokenizer; give that one"
                )
            top = logits.amax(-1).float()
            picked = logits.gather(-1, targets[part].to(logits.device).unsqueeze(-1)).squeeze(-1)
            # Written out: torch's own cross entropy takes twice as long and twice the memory, and rounds the logarithm.
            is_whole = logits.dtype == torch.float32
            below_top = logits.sub_(top.unsqueeze(-1)) if is_whole else torch.sub(logits, top.unsqueeze(-1))
            found[0, part] = below_top.exp_().sum(-1)
            found[1, part] = top
            found[2, part] = picked
            del logits, below_top  # or they would be there beside the next ones
        return _Found(np.concatenate([row.owners for row in rows]), found)

    def _collect(self) -> None:
        for owners, found in self._found:
            # In float64 from here on, so that a uniform model costs exactly the logarithm of its vocabulary.
            sums, top, picked = found.cpu().numpy().astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                nats = np.log(sums) + (top - picked)
            np.add.at(self.nats, owners, nats)
            np.add.at(self.misses, owners, ~(picked >= top))
        self._found.clear()


def _keep_memory() -> None:
    """Let the process keep the memory that one layer leaves to the next.

    Linux gives memory by pages, one interrupt each, and the C library gives back what it thinks is a lot: without this,
    a tenth of a forward pass goes into asking for the same memory again. What it thinks is a lot, it learns from what
    is given back to it, up to 32 MiB.
    """
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)


def _check_ids(model: LanguageModel, rows: Sequence[Row]) -> None:
    # On CUDA a token that is none would end the training, and with it the process.
    smallest = min((int(min(row.ids.min(initial=0), row.targets.min(initial=0))) for row in rows), default=0)
    if smallest < 0:
        raise ProbeError(f"{smallest} is among the token ids: leave out what is no token; labels say what is scored")
    largest = max((int(max(row.ids.max(initial=0), row.targets.max(initial=0))) for row in rows), default=0)
    if model.vocabulary is not None and largest >= model.vocabulary:
        raise ProbeError(
            f"the tokenizer gives token {largest}, the model knows {model.vocabulary:,}: it was trained with another "
            "tokenizer; give that one"
        )


def _share(parts: int) -> str:
    return {2: "half", 4: "quarter"}.get(parts, f"{parts}th part")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def _free(device: torch.device) -> None:
    if device.type in ("cuda", "xpu", "mps"):
        getattr(torch, device.type).empty_cache()
