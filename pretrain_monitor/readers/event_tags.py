"""Which tag of other people's event files is which signal."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Of several that a run has the first counts: the others may be means over an interval, or over an epoch.
_SPELLINGS = {
    "loss": (
        "monitor/train/loss",
        "train/loss",
        "loss",
        "train_loss",
        "train_loss_step",
        "train/loss_step",
        "train/train_loss",
        "loss/train",
        "training/loss",
        "training_loss",
        "lm loss",
        "lm_loss",
        "lm-loss",
        "reduced_train_loss",
        "train/cross_entropy",
        "train/ce_loss",
        "train/cross entropy loss",
        "global_avg_loss",
        "loss_metrics/global_avg_loss",
        "loss/avg",
        "train_loss_epoch",
    ),
    "grad_norm": (
        "monitor/train/grad_norm",
        "train/grad_norm",
        "grad_norm",
        "grad-norm",
        "grad norm",
        "gradient_norm",
        "train/gradient_norm",
        "train/grad-norm",
        "training/grad_norm",
        "optim/total_grad_norm",
        "total_grad_norm",
        "grad_2.0_norm_total",
        "l2_norm/grad/global",
    ),
    "learning_rate": (
        "monitor/train/learning_rate",
        "train/learning_rate",
        "learning_rate",
        "learning-rate",
        "learning rate",
        "lr",
        "train/lr",
        "training/lr",
        "optim/learning_rate_group0",
    ),
    "tokens_seen": ("monitor/tokens_seen", "train/num_input_tokens_seen", "tokens_seen", "train/tokens_seen"),
}
_RANK = {tag: (field, rank) for field, tags in _SPELLINGS.items() for rank, tag in enumerate(tags)}
_RATE_OF_LIGHTNING = re.compile(r"lr-[\w.-]+(/pg1)?(/\S+)?")
_LAST = 1000
# What our own panels draw beside the signals.
_DRAWN = re.compile(r"(monitor/)?(trend|incident|incidents)/")
_ANY_LOSS = re.compile(r"(^|[/_ .-])loss$", re.IGNORECASE)
_PART_OF_LOSS = re.compile(r"(aux|aux\w+|z|router|balanc\w+|kl|reg\w*|mtp|value|policy)[/_ .-]?loss$", re.IGNORECASE)
_HELD_OUT = re.compile(r"(^|[/_ .-])(eval|val|valid|validation|test)([/_ .-]|$)", re.IGNORECASE)


def is_held_out(signal: str) -> bool:
    """Whether a signal is measured on texts that are not trained on, now and then.

    >>> is_held_out("eval/loss"), is_held_out("val_loss"), is_held_out("value_loss")
    (True, True, False)
    """
    return _HELD_OUT.search(signal) is not None


def fields_of(tags: Iterable[str]) -> dict[str, str | None]:
    """For each tag the signal that it stands for; None for what is no signal.

    >>> fields_of(["train/loss", "monitor/train/loss", "train/epoch"])
    {'train/loss': 'train/loss', 'monitor/train/loss': 'loss', 'train/epoch': 'epoch'}
    """
    tags = list(tags)
    best: dict[str, tuple[int, str]] = {}
    for tag in tags:
        if (found := _ranked(tag)) is not None:
            field, rank = found
            best[field] = min(best.get(field, (rank, tag)), (rank, tag))
    if "loss" not in best and (other := _any_loss(tags)) is not None:
        best["loss"] = (0, other)
    chosen = {tag: field for field, (_, tag) in best.items()}
    names: dict[str, str | None] = {}
    for tag in tags:
        if _DRAWN.match(tag):
            names[tag] = None
        elif tag in chosen:
            names[tag] = chosen[tag]
        else:
            plain = tag.removeprefix("monitor/").removeprefix("train/")
            # Another spelling of a field that has one already keeps its own name, and two names are never one.
            name = plain if plain not in _SPELLINGS and plain not in names.values() else tag
            names[tag] = f"other/{tag}" if name in _SPELLINGS or name in names.values() else name
    return names


def _ranked(tag: str) -> tuple[str, int] | None:
    found = _RANK.get(tag.lower())
    if found is None and _RATE_OF_LIGHTNING.fullmatch(tag):
        return "learning_rate", _LAST
    return found


def _any_loss(tags: Iterable[str]) -> str | None:
    """A loss of the training under a name that nobody has heard of."""
    found = [tag for tag in tags if _ANY_LOSS.search(tag) and not _PART_OF_LOSS.search(tag) and not is_held_out(tag)]
    return min(found, key=lambda tag: (len(tag), tag), default=None)
