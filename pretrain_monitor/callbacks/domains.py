"""The training loss of each domain and its share of the tokens, where batches say what their rows are."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .gather import Scalar
from .guard import guarded

logger = logging.getLogger(__name__)

_IGNORED = -100
_ROWS_AT_ONCE = 2**22  # logits that are turned into float32 at a time
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


class DomainWindow:
    """Loss and tokens by domain, over a number of steps.

    The loss of a row is computed from the logits of the model's own forward pass, in one step of ``every_steps`` only:
    it costs as much as the loss itself. Tokens are counted in every step. Both are those of this rank's batches.

    Args:
        key: of the labels in a batch: one name, or number, a row, on the host.
        every_steps: how often there is something to tell.
    """

    def __init__(self, key: str | None, every_steps: int = 20) -> None:
        self.was_told: set[str] = set()
        self._key = key
        self._every = every_steps
        self._labels: list[str] | None = None
        self._tokens: dict[str, int] = {}
        self._nats: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._step = 0
        self._hook: Any = None

    def attach(self, model: Any, step: int) -> None:
        """Watch the forward passes of a model whose training begins after ``step`` completed steps."""
        self.detach()
        self._labels = None
        self._tokens, self._nats = {}, {}
        self._step = step
        if self._key is not None:
            # Left out of compilation, which may fail on it and then ends the training.
            see = torch.compiler.disable(self._see_forward)  # type: ignore[no-untyped-call]
            self._hook = model.register_forward_hook(see, with_kwargs=True)

    def detach(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @guarded
    def take_labels(self, batch: Any) -> None:
        """Take the labels out of a batch, for no model knows what to do with them."""
        self._labels = None
        if self._key is None or not isinstance(batch, MutableMapping) or self._key not in batch:
            return
        labels = batch.pop(self._key)
        ids = batch.get("input_ids")
        self._labels = self._readable(labels, None if ids is None else ids.shape[0])
        if self._labels is not None and isinstance(ids, Tensor):
            counts = _tokens_of_rows(ids, batch.get("attention_mask"))
            for label, count in zip(self._labels, counts, strict=True):
                self._tokens[label] = self._tokens.get(label, 0) + count

    @guarded
    def _see_forward(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        labels = self._labels
        if labels is None or (self._step + 1) % self._every or not (module.training and torch.is_grad_enabled()):
            return
        targets, logits = kwargs.get("labels"), getattr(output, "logits", None)
        if not isinstance(targets, Tensor) or not isinstance(logits, Tensor) or logits.dim() != 3:
            self._tell_once("logits", "no loss by domain: the model returns no logits beside its loss")
            return
        with torch.no_grad():
            self._add_rows(labels, logits, targets)

    def metrics(self) -> dict[str, Scalar]:
        """A step is complete: what there is to tell of it and the ones before, as numbers and device scalars."""
        self._labels = None
        self._step += 1
        if self._key is None or self._step % self._every:
            return {}
        found: dict[str, Scalar] = {}
        total = sum(self._tokens.values())
        for label, count in sorted(self._tokens.items()):
            found[f"domain/{label}/token_share"] = count / total if total else 0.0
        for label, parts in sorted(self._nats.items()):
            nats, counts = (torch.stack(column).sum() for column in zip(*parts, strict=True))
            # A row without a label to predict has no loss.
            found[f"domain/{label}/loss"] = nats / counts
        self._tokens, self._nats = {}, {}
        return found

    def _add_rows(self, labels: list[str], logits: Tensor, targets: Tensor) -> None:
        rows = len(labels)
        shifted, wanted = logits[:, :-1], targets[:, 1:]
        at_once = max(1, _ROWS_AT_ONCE // (shifted.shape[1] * shifted.shape[2]))
        costs = [
            torch.nn.functional.cross_entropy(
                shifted[start : start + at_once].flatten(0, 1).float(),
                wanted[start : start + at_once].flatten(),
                ignore_index=_IGNORED,
                reduction="none",
            ).view(-1, wanted.shape[1])
            for start in range(0, rows, at_once)
        ]
        nats, counts = torch.cat(costs).sum(1), (wanted != _IGNORED).sum(1)
        for row, label in enumerate(labels):
            self._nats.setdefault(label, []).append((nats[row], counts[row]))

    def _readable(self, labels: Any, rows: int | None) -> list[str] | None:
        if isinstance(labels, Tensor):
            if not labels.is_cpu:
                self._tell_once("device", "labels in batch[%r] are on a device: give a list of names", self._key)
                return None
            labels = labels.tolist()
        if isinstance(labels, str) and rows is not None:
            labels = [labels] * rows
        if not isinstance(labels, Sequence) or (rows is not None and len(labels) != rows):
            self._tell_once("form", "batch[%r] is not one domain a row: no loss by domain", self._key)
            return None
        return [_UNFIT.sub("-", str(label)) or "-" for label in labels]

    def _tell_once(self, key: str, message: str, *args: object) -> None:
        if key not in self.was_told:
            self.was_told.add(key)
            logger.warning(message, *args)


def _tokens_of_rows(ids: Tensor, mask: Any) -> list[int]:
    """Without padding, if that can be told without making the host wait for a device."""
    if isinstance(mask, Tensor) and mask.is_cpu and mask.dim() == 2:
        counts: list[int] = torch.count_nonzero(mask, dim=1).tolist()
        return counts
    return [ids.shape[1]] * ids.shape[0]
