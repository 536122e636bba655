"""What training programs print: lines of words with numbers, such as ``iter 100: loss 3.21, time 12ms``.

Megatron, torchtitan, llm.c, nanoGPT and its relatives each print a step and a loss in one line, under names of their
own; OLMo prints a step and its signals in lines below; the Trainer of Hugging Face prints no step at all. Other lines
are passed over.
"""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from collections.abc import Iterator
from typing import Any

from ..printable import shorten
from .errors import LogError
from .notes import ReadNotes
from .source import LogSource

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
_WORD = r"(?!(?:nan|inf|infinity)\b)[A-Za-z_][\w/-]*"
# A name of up to four words, a colon, an equals sign or a space, and a number that goes on in no unit.
_PAIR = re.compile(rf"(?<![\w/-])({_WORD}(?: {_WORD}){{0,3}})(?:\s*[:=]\s*|\s+)({_NUMBER})(?![\w.])", re.IGNORECASE)
_BARE = re.compile(rf"(\d+) (train|val) ({_NUMBER})", re.IGNORECASE)  # the log file of build-nanogpt
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_BLOCK_HEAD = re.compile(r"\[step=(\d+)(?:/\d+)?[,\]]")
_BLOCK_ENTRY = re.compile(rf"\s+([\w/().-]+(?: [\w()-]+)*)=({_NUMBER}|\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?)", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(_NUMBER, re.IGNORECASE)

_BANNER_LINES = 20_000  # before the first step

_STEPS = frozenset({"step", "steps", "iter", "iteration", "it", "global_step", "train_step", "s"})
_FIELDS = {
    **dict.fromkeys(("loss", "lm_loss", "train_loss", "training_loss", "train/loss", "trl"), "loss"),
    **dict.fromkeys(("train/crossentropyloss", "train/ce_loss"), "loss"),
    **dict.fromkeys(("grad_norm", "gradient_norm", "norm", "gnorm", "total_grad_norm", "grad-norm"), "grad_norm"),
    "optim/total_grad_norm": "grad_norm",
    **dict.fromkeys(("lr", "learning_rate"), "learning_rate"),
    **dict.fromkeys(("optim/learning_rate_group0", "optim/lr_(group_0)", "optim/lr"), "learning_rate"),
    **dict.fromkeys(("tokens_seen", "consumed_tokens", "total_tokens"), "tokens_seen"),
    "throughput/total_tokens": "tokens_seen",
    **dict.fromkeys(("loss_scale",), "loss_scale"),
    **dict.fromkeys(("val_loss", "validation_loss", "valid_loss", "eval_loss"), "val_loss"),
}


def text_rows(
    source: LogSource, first: str, refused: LogError, notes: ReadNotes | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of what was printed, as far as lines have a step.

    Args:
        first: line, which has been read from the source already.
        refused: raised if there is no line with a step and a loss, for then it is something else.
        notes: told where steps had to be counted; None says nothing.

    Raises:
        LogError: ``refused``.
    """
    has_loss = False
    block = _Block()
    printed = 0  # lines that a Trainer printed, which have no step
    for number, line in enumerate(itertools.chain([first], source)):
        if number == _BANNER_LINES and not has_loss:
            raise refused  # a pipe may have no end
        # A progress bar writes over itself.
        for part in line.split("\r"):
            row = _printed_dict(part) or row_in(part) or block.row_in(part)
            if row is None:
                continue
            if "step" not in row:
                printed += "loss" in row
                if not printed:
                    continue
                row["step"] = printed
            has_loss = has_loss or "loss" in row
            yield source.line_number, row
    if not has_loss:
        raise refused
    if printed and notes is not None:
        notes.say(
            source.name, "its lines have no step: those with a loss are counted, whatever the logging interval was"
        )


def pattern_rows(source: LogSource, pattern: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of the lines in which a regular expression is found; its named groups are the signals.

    Raises:
        LogError: no expression, one without the groups step and loss, one that is found nowhere.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a bracket that a later Python may read otherwise
            expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise LogError(f"pattern {shorten(repr(pattern))}: no regular expression: {error}") from None
    lacking = [name for name in ("step", "loss") if name not in expression.groupindex]
    if lacking:
        raise LogError(
            f"pattern {shorten(repr(pattern))}: no group named {' or '.join(lacking)}; "
            "write it as in step (?P<step>[0-9]+) loss (?P<loss>[-+.0-9a-z]+)"
        )
    return _matched(source, expression)


def _matched(source: LogSource, expression: re.Pattern[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    found = False
    for line in source:
        for match in expression.finditer(_COLOURS.sub("", line)):
            found = True
            yield source.line_number, {name: value for name, value in match.groupdict().items() if value}
    if not found:
        raise LogError(f"{source.name}: no line has the pattern {shorten(repr(expression.pattern))}")


class _Block:
    """A step in a line by itself, and its signals in the indented lines below it, as OLMo prints them."""

    def __init__(self) -> None:
        self._step: str | None = None

    def row_in(self, line: str) -> dict[str, Any] | None:
        line = _COLOURS.sub("", line).rstrip()
        if (head := _BLOCK_HEAD.search(line)) is not None:
            self._step = head[1]
            return None
        entry = _BLOCK_ENTRY.fullmatch(line)
        if entry is None:
            if line and not line[0].isspace():
                self._step = None
            return None
        field = _FIELDS.get(entry[1].strip().lower().replace(" ", "_"))
        if self._step is None or field is None:
            return None
        # Numbers are printed with thousands parted.
        return {"step": self._step, field: entry[2].replace(",", "")}


def _printed_dict(line: str) -> dict[str, Any] | None:
    """What a Hugging Face Trainer prints: ``{'loss': 3.21, 'grad_norm': 1.2, ...}``, its summary left out."""
    line = line.strip()
    start = line.find("{'")
    if start < 0 or not line.endswith("}"):
        return None
    try:
        record = ast.literal_eval(line[start:])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(record, dict) or "train_runtime" in record:
        return None
    row = {_FIELDS.get(str(name).lower(), str(name)): value for name, value in record.items() if _is_number(value)}
    return row if "loss" in row else None


def _is_number(value: Any) -> bool:
    """Also those that are printed as texts."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) is not None)


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
