"""What training programs print: lines of words with numbers, such as ``iter 100: loss 3.21, time 12ms``.

Megatron, NeMo, torchtitan, llm.c, nanoGPT and its relatives each print a step and a loss in one line, under names of
their own; OLMo prints a step and its signals in lines below; the Trainer of Hugging Face prints no step at all. Other
lines are passed over.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterator
from typing import Any

from ..printable import shorten
from .columns import Columns
from .errors import LogError
from .notes import ReadNotes
from .source import LogSource

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
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_BLOCK_HEAD = re.compile(r"\[step=(\d+)(?:/\d+)?[,\]]")
_BLOCK_ENTRY = re.compile(rf"\s+([\w/().-]+(?: [\w()-]+)*)=({_NUMBER}|\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?)", re.IGNORECASE)
# What str() makes of a dict of numbers; NaN in it is no literal of Python.
_DICT = re.compile(r"""\{\s*["'][^{}]*\}""")
_DICT_ENTRY = re.compile(rf"""["']([^"']+)["']\s*:\s*(["']?)({_NUMBER})\2\s*(?=[,}}])""", re.IGNORECASE)

_BANNER_LINES = 20_000  # before the first step

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
    source.is_print_out = True
    lines = _Lines()
    passed_over = number = 0
    for number, line in enumerate(itertools.chain([first], source), 1):
        if number > _BANNER_LINES and not lines.has_loss:
            raise refused  # a pipe may have no end
        is_read = False
        # A progress bar writes over itself.
        for part in line.split("\r"):
            row = lines.row_in(part)
            if row is not None:
                is_read = True
                yield source.line_number, row
        passed_over += bool(line.strip()) and not is_read and not lines.is_in_block
    if not lines.has_loss:
        raise refused
    if notes is None:
        return
    if passed_over:
        notes.sentences.append(f"{passed_over:,} of {number:,} lines hold no step with a signal and are passed over")
    if source.mended_lines:
        notes.sentences.append(
            f"{source.mended_lines:,} lines hold bytes that are no UTF-8 text; the rest of them is read"
        )
    if lines.counted:
        notes.say(
            source.name, "its lines have no step: those with a loss are counted, whatever the logging interval was"
        )


class _Lines:
    """What lines say, one after the other.

    Where the first loss comes with a step, only lines with a step count; where it comes without one, lines are counted
    in the place of steps, and steps in other lines, which count something else, are left alone.
    """

    def __init__(self) -> None:
        self.has_loss = False
        self.counted = 0  # lines with a loss and no step
        self._block = _Block()

    @property
    def is_in_block(self) -> bool:
        return self._block.is_open

    def row_in(self, line: str) -> dict[str, Any] | None:
        row = _printed_dict(line) or row_in(line) or self._block.row_in(line)
        if row is None:
            return None
        if "step" not in row:
            if self.has_loss and not self.counted:
                return None
            self.counted += "loss" in row
            if not self.counted:
                return None  # evaluated before the first step
            row["step"] = self.counted
        elif self.counted:
            return None
        self.has_loss = self.has_loss or "loss" in row
        return row


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
    names = tuple(expression.groupindex)
    fields = Columns(f"pattern {shorten(repr(pattern))}").fields(names, "it")
    return _matched(source, expression, dict(zip(names, fields, strict=True)))


def _matched(
    source: LogSource, expression: re.Pattern[str], fields: dict[str, str | None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    source.is_print_out = True
    found = False
    for line in source:
        for match in expression.finditer(_COLOURS.sub("", line)):
            found = True
            yield (
                source.line_number,
                {
                    field: value
                    for name, value in match.groupdict().items()
                    if value and (field := fields[name]) is not None
                },
            )
    if not found:
        raise LogError(f"{source.name}: no line has the pattern {shorten(repr(expression.pattern))}")


class _Block:
    """A step in a line by itself, and its signals in the indented lines below it, as OLMo prints them."""

    def __init__(self) -> None:
        self._step: str | None = None

    @property
    def is_open(self) -> bool:
        return self._step is not None

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
    line = _COLOURS.sub("", line).strip()
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
