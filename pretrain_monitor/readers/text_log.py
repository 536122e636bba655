"""What training programs print: lines of words with numbers, such as ``iter 100: loss 3.21, time 12ms``.

Megatron, torchtitan, llm.c, nanoGPT and its relatives each print a step and a loss in one line, under names of their
own; other lines are passed over.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from ..telemetry import Sample
from .errors import LogError
from .rows import samples_of
from .source import LogSource

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
_WORD = r"(?!(?:nan|inf|infinity)\b)[A-Za-z_][\w/-]*"
# A name of up to four words, a colon, an equals sign or a space, and a number that goes on in no unit.
_PAIR = re.compile(rf"(?<![\w/-])({_WORD}(?: {_WORD}){{0,3}})(?:\s*[:=]\s*|\s+)({_NUMBER})(?![\w.])", re.IGNORECASE)
_BARE = re.compile(rf"(\d+) (train|val) ({_NUMBER})", re.IGNORECASE)  # the log file of build-nanogpt
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_BANNER_LINES = 20_000  # before the first step

_STEPS = frozenset({"step", "steps", "iter", "iteration", "it", "global_step", "train_step", "s"})
_FIELDS = {
    **dict.fromkeys(("loss", "lm_loss", "train_loss", "training_loss", "train/loss", "trl"), "loss"),
    **dict.fromkeys(("grad_norm", "gradient_norm", "norm", "gnorm", "total_grad_norm", "grad-norm"), "grad_norm"),
    **dict.fromkeys(("lr", "learning_rate"), "learning_rate"),
    **dict.fromkeys(("tokens_seen", "consumed_tokens", "total_tokens"), "tokens_seen"),
    **dict.fromkeys(("loss_scale",), "loss_scale"),
    **dict.fromkeys(("val_loss", "validation_loss", "valid_loss", "eval_loss"), "val_loss"),
}


def read_text_log(source: LogSource, first: str, refused: LogError) -> Iterator[Sample]:
    """Samples of what was printed, as far as lines have a step.

    Args:
        first: line, which has been read from the source already.
        refused: raised if there is no line with a step and a loss, for then it is something else.

    Raises:
        LogError: ``refused``, or steps that go backwards.
    """
    return samples_of(source.name, _rows(source, first, refused))


def _rows(source: LogSource, first: str, refused: LogError) -> Iterator[tuple[int, dict[str, Any]]]:
    has_loss = False
    for number, line in enumerate(itertools.chain([first], source)):
        if number == _BANNER_LINES and not has_loss:
            raise refused  # a pipe may have no end
        # A progress bar writes over itself.
        for part in line.split("\r"):
            row = row_in(part)
            if row is not None:
                has_loss = has_loss or "loss" in row
                yield source.line_number, row
    if not has_loss:
        raise refused


def row_in(line: str) -> dict[str, Any] | None:
    """The signals in one line under our names; None without a step and a signal.

    >>> row_in("step:100/1750 train_loss:4.12 train_time:9153ms")
    {'step': '100', 'loss': '4.12'}
    """
    line = _COLOURS.sub("", line).strip()
    if bare := _BARE.fullmatch(line):
        return {"step": bare[1], "loss" if bare[2].lower() == "train" else "val_loss": bare[3]}
    row: dict[str, Any] = {}
    for name, value in _PAIR.findall(line):
        words = name.lower().split(" ")
        if "step" not in row and words[-1] in _STEPS and value.isdigit():
            row["step"] = value
        elif (field := _FIELDS.get("_".join(words))) is not None:
            row.setdefault(field, value)
    if "val_loss" in row:
        # Means over several batches of each set: the loss of no step.
        row.pop("loss", None)
    return row if "step" in row and len(row) > 1 else None
