"""Rows of named cells -> samples."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..printable import shorten
from ..telemetry import Sample
from .cells import CellError, is_empty, number, step_number
from .errors import LogError
from .notes import ReadNotes
from .sessions import MOST_LATE, LateRow, Selection, is_late

# Text in one of these is an error; any other column may hold text, which is passed over.
_MUST_BE_NUMBERS = frozenset({"loss", "grad_norm", "learning_rate"})

_OUT_OF_ORDER = {
    True: "save a pipe to a file first: whether this is another run, or one that was resumed, takes reading it twice",
    False: "neither runs one after the other nor one that was resumed, but as of two at once, or out of order: "
    "split it or sort it",
}


def samples_of(
    log: str,
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    *,
    unit: str = "line",
    selection: Selection | None = None,
    notes: ReadNotes | None = None,
    is_pipe: bool = False,
) -> Iterator[Sample]:
    """Numbered rows -> samples; rows of one step are joined, since some loggers write one line per signal.

    Args:
        unit: what the rows are called in messages.
        selection: which of them count; None: all.
        is_pipe: they come from what cannot be read ahead.

    Raises:
        LogError: steps that are no whole numbers or go backwards, a loss that is no number.
    """
    step: int | None = None
    seen: int | None = None  # the step of the last row, of whichever run
    held: dict[str, float] = {}
    filler = FillerNaN()
    late = _Late(log, unit, filler, selection)
    notes = notes if notes is not None else ReadNotes()
    without_step = doubled = 0
    ordinal = -1
    for line, row in rows:
        if is_empty(row.get("step")):
            without_step += not is_empty(row.get("loss"))
            continue
        where = f"{unit} {line}"
        here = _step(f"{log}: {where}", row["step"])
        ordinal += 1
        if is_late(row, here, seen):
            late.met += 1
            continue
        seen = here
        if selection is not None and not selection.takes(ordinal, here):
            continue
        if step is not None and here < step:
            raise LogError(f"{log}: steps go backwards at {where}: {here} after {step}; {_OUT_OF_ORDER[is_pipe]}")
        if here != step and held and step is not None:
            yield from late.before(step)
            yield _sample(step, late.joined(step, held))
            held = {}
        values = filler.drop(_numbers(f"{log}: {where}", row))
        doubled += here == step and "loss" in held and "loss" in values
        step = here
        held.update(values)
    if held and step is not None:
        yield from late.before(step)
        yield _sample(step, late.joined(step, held))
    if without_step:
        plural = "row" if without_step == 1 else "rows"
        notes.say(log, f"passed over {without_step} {plural} with a loss but no step")
    if doubled:
        notes.say(log, f"{doubled:,} times a step has one more loss, as of several processes; the last counts")
    if selection is not None:
        selection.tell(log, notes)
        if late.met > MOST_LATE:
            notes.say(
                log, f"{late.met:,} rows without a loss came after later steps: all but {MOST_LATE:,} are left out"
            )
    elif late.met:
        plural = "row" if late.met == 1 else "rows"
        notes.say(
            log,
            f"{late.met:,} {plural} without a loss came after later steps: left out, for a pipe is read only once",
        )
    filler.tell(log, notes)


class _Late:
    """What came late, put where it belongs."""

    def __init__(self, log: str, unit: str, filler: FillerNaN, selection: Selection | None) -> None:
        self.met = 0
        self._log, self._unit, self._filler = log, unit, filler
        self._rows: deque[LateRow] = deque(selection.late if selection is not None else ())

    def before(self, step: int) -> Iterator[Sample]:
        """Samples of earlier steps that have nothing but what came late."""
        while self._rows and self._rows[0].step < step:
            earlier = self._rows[0].step
            if values := self.joined(earlier, {}):
                yield _sample(earlier, values)

    def joined(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """The values of a step with those that came late."""
        while self._rows and self._rows[0].step == step:
            row = self._rows.popleft()
            late = self._filler.drop(_numbers(f"{self._log}: {self._unit} {row.line}", row.row))
            values = {**values, **{name: value for name, value in late.items() if name not in values}}
        return values


def _sample(step: int, values: dict[str, float]) -> Sample:
    tokens, time = values.pop("tokens_seen", None), values.pop("time", None)
    return Sample(step, values, int(tokens) if tokens is not None and math.isfinite(tokens) else None, time)


def _step(where: str, value: Any) -> int:
    try:
        return step_number(value)
    except CellError as error:
        raise LogError(f"{where}: step {shorten(repr(value), 60)} {error}") from None


def _numbers(where: str, row: Mapping[str, Any]) -> dict[str, float]:
    values = {}
    for name, value in row.items():
        if name == "step" or is_empty(value):
            continue
        try:
            values[name] = number(value)
        except CellError as error:
            if name in _MUST_BE_NUMBERS:
                raise LogError(f"{where}: {name} {shorten(repr(value), 60)} {error}") from None
    return values


class FillerNaN:
    """Tells NaN as "not recorded" from a NaN that happened, in every column but the loss.

    Some loggers write NaN where a signal was not measured at a step. A gradient norm that became NaN stays NaN or
    comes back once; one that was NaN before it was ever finite was never measured there.
    """

    def __init__(self) -> None:
        self._was_finite: set[str] = set()
        self._dropped: dict[str, int] = {}

    def see(self, name: str) -> None:
        """A finite value of a signal."""
        self._was_finite.add(name)

    def drop(self, values: dict[str, float]) -> dict[str, float]:
        kept = {}
        for name, value in values.items():
            if math.isnan(value) and name != "loss" and name not in self._was_finite:
                self._dropped[name] = self._dropped.get(name, 0) + 1
                continue
            if math.isfinite(value):
                self._was_finite.add(name)
            kept[name] = value
        return kept

    def tell(self, log: str, notes: ReadNotes) -> None:
        """How many were taken for a filler."""
        for name, count in self._dropped.items():
            what = (
                f"before {name} was ever a number"
                if name in self._was_finite
                else f"for {name}, which never is a number"
            )
            notes.sentences.append(f"{count:,} NaN {what} are taken as not recorded")
