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
from .text_lines import COLOURS, Block, printed_dict, row_in

_BANNER_LINES = 20_000  # before the first step


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
    if lines.epochs_fell:
        notes.say(
            source.name,
            f"its epoch falls back, times: {lines.epochs_fell}; without steps nobody can tell what was trained twice: "
            "read trainer_state.json of the last checkpoint instead",
        )


class _Lines:
    """What lines say, one after the other.

    Where the first loss comes with a step, only lines with a step count; where it comes without one, lines are counted
    in the place of steps, and steps in other lines, which count something else, are left alone.
    """

    def __init__(self) -> None:
        self.has_loss = False
        self.counted = 0  # lines with a loss and no step
        self.epochs_fell = 0
        self._epoch = 0.0
        self._block = Block()

    @property
    def is_in_block(self) -> bool:
        return self._block.is_open

    def row_in(self, line: str) -> dict[str, Any] | None:
        row = printed_dict(line) or row_in(line) or self._block.row_in(line)
        if row is None:
            return None
        if "step" not in row:
            if self.has_loss and not self.counted:
                return None
            self.counted += "loss" in row
            if not self.counted:
                return None  # evaluated before the first step
            epoch = float(row.get("epoch", self._epoch))
            self.epochs_fell += epoch < self._epoch
            self._epoch = epoch
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
        for match in expression.finditer(COLOURS.sub("", line)):
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
