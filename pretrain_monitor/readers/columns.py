"""Which column of a log is which field of a sample."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..printable import shorten
from .cells import is_empty
from .errors import LogError
from .wandb_table import signal_in

# The spellings of a field, upper case or lower; the first is ours.
ALIASES = {
    "step": ("step", "global_step", "iteration", "iter", "train/global_step", "trainer/global_step", "_step"),
    "loss": ("loss", "train_loss", "train/loss", "lm_loss", "training_loss", "train_loss_step", "train/loss_step"),
    "grad_norm": (
        "grad_norm", "train/grad_norm", "gradient_norm", "grad-norm", "total_grad_norm", "grad_2.0_norm_total",
    ),
    "learning_rate": ("learning_rate", "lr", "train/learning_rate", "train/lr"),
    "tokens_seen": ("tokens_seen", "num_input_tokens_seen", "train/num_input_tokens_seen", "tokens"),
    "time": ("time", "timestamp", "_timestamp"),
}  # fmt: skip
# Of Lightning's LearningRateMonitor: the first group of the only optimizer.
_RATE_OF_LIGHTNING = re.compile(r"lr-[\w.]+(/pg1)?")
# Counts the calls of W&B's log: the step of a row that has no other.
_CALLS_OF_WANDB = "_step"
_BOOKS_OF_WANDB = frozenset({"_runtime", "_wandb"})
_FIELDS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
_REMEMBERED = 1000


def field_of(name: str) -> str | None:
    """The field that a name stands for, the name itself if it is a signal of its own, None if it is blank."""
    signal = signal_in(name.strip())
    if signal is None or signal in _BOOKS_OF_WANDB:
        return None
    name = signal
    if _RATE_OF_LIGHTNING.fullmatch(name):
        return "learning_rate"
    return _FIELDS.get(name.lower(), name) or None


class Columns:
    """Gives each name of a log the field that it stands for.

    Where a log has several spellings of one field, our own is the one that counts and the others are left out: a
    Hugging Face log has ``loss`` at every step and ``train_loss``, the mean over the run, at the last. Two others
    could be anything, and are refused.
    """

    def __init__(self, log: str) -> None:
        self._log = log
        self._spelling: dict[str, str] = {}
        self._known: dict[tuple[str, ...], tuple[str | None, ...]] = {}

    def fields(self, names: Sequence[str], where: str) -> tuple[str | None, ...]:
        """For each name its field, itself if it is a signal of its own, None if it is to be left out.

        Raises:
            LogError: two names for one field, neither of them ours, here or in an earlier line.
        """
        key = tuple(names)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = self._resolved(key, where)
        return known

    def _resolved(self, names: tuple[str, ...], where: str) -> tuple[str | None, ...]:
        stripped = [name.strip() for name in names]
        fields = [field_of(name) for name in names]
        columns: dict[str, list[int]] = {}
        for column, field in enumerate(fields):
            if field is not None:
                columns.setdefault(field, []).append(column)
        for field, its_columns in columns.items():
            spellings = [stripped[column] for column in its_columns]
            if field == "step":
                spellings = self._steps(spellings)
            chosen = self._chosen(field, spellings, where) if spellings else None
            for column in its_columns:
                if stripped[column] != chosen:
                    fields[column] = None
        return tuple(fields)

    def _steps(self, spellings: list[str]) -> list[str]:
        """The names that count optimizer steps, if there are any in this line or were in one before it."""
        better = [name for name in spellings if signal_in(name) != _CALLS_OF_WANDB]
        is_known = signal_in(self._spelling.get("step", _CALLS_OF_WANDB)) != _CALLS_OF_WANDB
        return better if better or is_known else spellings

    def _chosen(self, field: str, spellings: list[str], where: str) -> str:
        if spellings.count(field) == 1:
            chosen = field
        elif len(spellings) == 1:
            chosen = spellings[0]
        else:
            two = " and ".join(_quoted(name) for name in (spellings if field not in spellings else [field, field])[:2])
            raise LogError(
                f"{self._log}: {where} has two columns for {shorten(field)}: {two}; "
                f"leave one of them out{'' if field in spellings else f', or call the right one {_quoted(field)}'}"
            )
        before = self._spelling.setdefault(field, chosen)
        if chosen == before or field == "step":
            # Steps are whole numbers that only rise, whatever a line calls them.
            return chosen
        if before == field:
            return field
        raise LogError(
            f"{self._log}: {where} has {_quoted(chosen)} for {field}, lines before it {_quoted(before)}; "
            f"leave one of them out, or call the right one {_quoted(field)}"
        )


class NamedRows:
    """Objects, each with names of its own -> rows under the names of fields."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._columns = Columns(log)
        self._seen: dict[str, None] = {}  # names in the order of appearance: a set would shuffle them
        self._fields_seen: set[str] = set()

    def row(self, record: Mapping[str, Any], where: str) -> dict[str, Any]:
        """
        Raises:
            LogError: two names for one field.
        """
        if len(self._seen) < 8:
            self._seen.update(dict.fromkeys(record))
        if any(map(is_empty, record.values())):
            record = {name: value for name, value in record.items() if not is_empty(value)}
        fields = self._columns.fields(tuple(record), where)
        row = {field: value for field, value in zip(fields, record.values(), strict=True) if field is not None}
        self._fields_seen.update(row.keys() & {"step", "loss"})
        return row

    def check(self, where: str) -> None:
        """After the last row: whether there was a step and a loss.

        Raises:
            LogError: one of them was missing.
        """
        check_columns(self._log, self._fields_seen, self._seen, where)


def check_columns(log: str, fields: Iterable[str | None], names: Iterable[str], where: str) -> None:
    """Whether there are a step and a loss.

    Raises:
        LogError: one of them is missing.
    """
    fields = set(fields)
    for needed in ("step", "loss"):
        if needed not in fields:
            shown = ", ".join(_quoted(name) for name in list(names)[:8]) or "nothing"
            raise LogError(f"{log}: no {needed} column; {where} {shown}; call it one of {', '.join(ALIASES[needed])}")


def _quoted(name: str) -> str:
    return shorten(repr(name), limit=60)
