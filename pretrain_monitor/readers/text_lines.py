"""What one line says that a training program has printed."""

from __future__ import annotations

import re
from typing import Any

# Digits are taken whole (++): tried at all lengths, a long row of them in a line would take hours.
_NUMBER = r"[-+]?(?:\d++\.?\d*+(?:[eE][-+]?\d++)?|\.\d++(?:[eE][-+]?\d++)?|nan|inf(?:inity)?)"
_WITH_COMMAS = r"[-+]?\d++(?:,\d++)++(?:\.\d*+)?"  # whole: half of 9,12 would be another number
_WORD = r"(?!(?:nan|inf|infinity)\b)[A-Za-z_][\w/-]*"
# A name of up to four words, a colon, an equals sign or a space, and a number that goes on in no unit.
_PAIR = re.compile(
    rf"(?<![\w/-])({_WORD}(?: {_WORD}){{0,3}})(?:\s*[:=]\s*|\s+)({_WITH_COMMAS}|{_NUMBER})(?![\w.]|,\d)", re.IGNORECASE
)
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(\.\d*)?")
_BARE = re.compile(rf"(\d+) (train|val) ({_NUMBER})", re.IGNORECASE)  # the log file of build-nanogpt
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_BLOCK_HEAD = re.compile(r"\[step=(\d+)(?:/\d+)?[,\]]")
_BLOCK_ENTRY = re.compile(rf"\s+([\w/().-]+(?: [\w()-]+)*)=({_NUMBER}|\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?)", re.IGNORECASE)
# What str() makes of a dict of numbers; NaN in it is no literal of Python.
_DICT = re.compile(r"""\{\s*["'][^{}]*\}""")
_DICT_ENTRY = re.compile(rf"""["']([^"']+)["']\s*:\s*(["']?)({_NUMBER})\2\s*(?=[,}}])""", re.IGNORECASE)

_STEPS = frozenset({"step", "steps", "iter", "iteration", "it", "global_step", "train_step", "s"})
# In front of a step they say that what follows is measured on other texts: "validate step: 100 loss: 3.2".
_HELD_OUT = frozenset({"validate", "validation", "valid", "val", "eval", "evaluate", "evaluation", "test"})
_OF_STEP = "reduced_train_loss"  # NeMo's, which repeats its last val_loss in every line
_FIELDS = {
    **dict.fromkeys(("loss", "lm_loss", "lm_loss_value", "train_loss", "training_loss", "train/loss", "trl"), "loss"),
    **dict.fromkeys(("train/crossentropyloss", "train/ce_loss", _OF_STEP), "loss"),
    **dict.fromkeys(("grad_norm", "gradient_norm", "norm", "gnorm", "total_grad_norm", "grad-norm"), "grad_norm"),
    "optim/total_grad_norm": "grad_norm",
    **dict.fromkeys(("lr", "learning_rate"), "learning_rate"),
    **dict.fromkeys(("optim/learning_rate_group0", "optim/lr_(group_0)", "optim/lr"), "learning_rate"),
    **dict.fromkeys(("tokens_seen", "consumed_tokens", "total_tokens"), "tokens_seen"),
    "throughput/total_tokens": "tokens_seen",
    **dict.fromkeys(("loss_scale",), "loss_scale"),
    **dict.fromkeys(("val_loss", "validation_loss", "valid_loss", "eval_loss"), "val_loss"),
}
# Whole numbers: a comma in one parts thousands.
_COUNTED = frozenset({"step", "tokens_seen"})


class Block:
    """A step in a line by itself, and its signals in the indented lines below it, as OLMo prints them."""

    def __init__(self) -> None:
        self._step: str | None = None

    @property
    def is_open(self) -> bool:
        return self._step is not None

    def row_in(self, line: str) -> dict[str, Any] | None:
        line = COLOURS.sub("", line).rstrip()
        if (head := _BLOCK_HEAD.search(line)) is not None:
            self._step = head[1]
            return None
        entry = _BLOCK_ENTRY.fullmatch(line)
        if entry is None:
            if line and not line[0].isspace():
                self._step = None
            return None
        name = entry[1].strip()
        field = _FIELDS.get(name.lower().replace(" ", "_"), name if name.startswith("eval/") else None)
        if self._step is None or field is None:
            return None
        # Numbers are printed with thousands parted.
        return {"step": self._step, field: entry[2].replace(",", "")}


def printed_dict(line: str) -> dict[str, Any] | None:
    """What a Hugging Face Trainer prints: ``{'loss': 3.21, 'grad_norm': nan, ...}``, its summary left out."""
    found = _DICT.search(line)
    if found is None:
        return None
    values = {name: value for name, _, value in _DICT_ENTRY.findall(found[0])}
    if "train_runtime" in values:
        return None
    row: dict[str, Any] = {}
    for name, value in values.items():
        row.setdefault("step" if name.lower() in _STEPS else _FIELDS.get(name.lower(), name), value)
    return row if "loss" in row or "val_loss" in row else None


def row_in(line: str) -> dict[str, Any] | None:
    """The signals in one line under our names; None without a step and a signal.

    >>> row_in("step:100/1750 train_loss:4.12 train_time:9153ms")
    {'step': '100', 'loss': '4.12'}
    """
    line = COLOURS.sub("", line).strip()
    if bare := _BARE.fullmatch(line):
        return {"step": bare[1], "loss" if bare[2].lower() == "train" else "val_loss": bare[3]}
    row: dict[str, Any] = {}
    is_held_out = is_of_step = False
    for name, value in _PAIR.findall(line):
        words = name.lower().split(" ")
        joined = "_".join(words)
        field = "step" if words[-1] in _STEPS else _FIELDS.get(joined)
        if field is None:
            continue
        if "," in value and (parted := _THOUSANDS.fullmatch(value)) and (parted[1] or field in _COUNTED):
            value = value.replace(",", "")
        if field == "step":
            if not value.isdigit():
                continue
            is_held_out = is_held_out or not _HELD_OUT.isdisjoint(words)
            if joined == "global_step":  # beside an iteration, which begins anew with each epoch
                row.pop("step", None)
        is_of_step = is_of_step or joined == _OF_STEP
        row.setdefault(field, value)
    if is_held_out and "loss" in row:
        row.setdefault("val_loss", row.pop("loss"))
    elif "val_loss" in row and not is_of_step:
        # Means over several batches of each set: the loss of no step.
        row.pop("loss", None)
    return row if "step" in row and len(row) > 1 else None
