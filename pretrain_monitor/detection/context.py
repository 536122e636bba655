"""What was changed of a run while it went on: planned, announced, or seen in its telemetry."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..announcing import KEY as ANNOUNCED
from ..announcing import announced_in
from ..config import ScheduledChange
from .lasting import LastingLevel, Shift
from .messages import two_numbers

_KEPT_CHANGES = 256
_BEFORE_SAMPLES = 2  # an onset is placed this many samples too early at times
_DECLARED_WITHIN_STEPS = 5  # or samples, where these are further apart

_SIZE_TOLERANCE = 0.2
_TOLERANCES = {
    "batch_size": _SIZE_TOLERANCE,
    "batch_tokens": _SIZE_TOLERANCE,
    "sequence_length": _SIZE_TOLERANCE,
    "data_stage": 0.0,
}
_TOKENS = "tokens_seen"  # its increments per step are tokens in a batch

_RATE_JUMP = 1.25  # one-step change of the learning rate, in either direction ...
_RATE_GROWTH = 2.0  # ... and this many times what the schedule did from one sample to the next before
_RATE_NEEDS, _RATE_KEEPS = 2, 16

_EPOCH_SAMPLES = 100  # of shorter passes over the data every shift would be near a boundary

_WORDS = {"batch_tokens": "tokens per step"}


@dataclass(frozen=True, slots=True)
class Change:
    """One change on purpose, or at least by a program and not by what the model learns.

    Args:
        step: first step that was trained in the new way.
        what: data_stage, batch_size, batch_tokens (tokens of all ranks in one step), sequence_length, learning_rate
            epoch or other.
        text: for messages: the user's own words, or what was seen with numbers.
        before: the value until then; None where a human declared it.
        after: the value since.
        is_declared: whether somebody planned or announced it, or something close by that may have included it; whoever
            starts a run knows its epochs.
    """

    step: int
    what: str
    text: str
    before: float | None
    after: float | None
    is_declared: bool


class RunContext:
    """Collects the changes of a run from its samples and its plan, for whoever asks what may explain a shift.

    >>> context = RunContext([ScheduledChange(step=500, note="stage 2: code")])
    >>> [change.text for change in context.near(501, 504, slack=20)]
    ['stage 2: code']

    Args:
        schedule: the changes that were planned.
    """

    def __init__(self, schedule: Sequence[ScheduledChange] = ()) -> None:
        self._planned = [_planned(entry, entry.step) for entry in schedule if entry.step is not None]
        self._by_tokens = [entry for entry in schedule if entry.tokens is not None]
        self._reached: dict[int, int] = {}  # place in that list -> first step of the change
        self._next_tokens = self._nearest_tokens()
        self._changes: deque[Change] = deque(maxlen=_KEPT_CHANGES)
        self._levels: dict[str, LastingLevel] = {}
        self._step: int | None = None
        self._gaps = (1, 1)  # steps between the last samples
        self._tokens: tuple[int, int] | None = None  # the last known count, and at which step
        self._epoch: tuple[int, int] | None = None  # number, and the first step of it
        self._rate: float | None = None
        self._rate_changes: deque[float] = deque(maxlen=_RATE_KEEPS)

    def update(
        self,
        step: int,
        metrics: Mapping[str, float],
        meta: Mapping[str, Any] | None = None,
        tokens_seen: int | None = None,
    ) -> None:
        """Take in one sample, whatever it holds.

        Args:
            meta: under ``announced`` it may hold what a human said: ``[{"text": ..., "what": ..., "step": ...}]``.
        """
        if step != self._step:
            if self._step is not None:
                self._gaps = self._gaps[1], step - self._step
            self._step = step
        if meta and ANNOUNCED in meta:
            for said in announced_in(step, meta):
                change = Change(said.step, said.what, said.text, None, None, True)
                if change not in self._changes:
                    self._changes.append(change)
        for name in _TOLERANCES:
            if name in metrics:
                self._take_size(step, name, metrics[name])
        if tokens_seen is not None:
            self._take_tokens(step, tokens_seen, has_size="batch_tokens" in metrics)
        if "epoch" in metrics:
            self._take_epoch(step, metrics["epoch"])
        rate = metrics.get("learning_rate")
        if rate is not None:
            self._take_rate(step, rate)

    def near(self, first_step: int, last_step: int, slack: int) -> list[Change]:
        """The changes that can explain a shift which began from ``first_step`` to ``last_step``.

        In order of steps, of one step those first that a human spoke of.

        A change explains what begins from two samples before it to ``slack`` steps after it. One seen in telemetry
        counts from its first sample on, and no longer if it turns out to have been a single odd batch.
        """
        latest = last_step + _BEFORE_SAMPLES * min(self._gaps)
        declared = [*self._planned, *(_planned(self._by_tokens[place], at) for place, at in self._reached.items())]
        observed = [*self._changes, *self._unsettled()]
        close = [c for c in (*declared, *observed) if first_step - slack <= c.step <= latest]
        declared += [change for change in self._changes if change.is_declared]
        return sorted((self._with_verdict(c, declared) for c in close), key=lambda c: (c.step, c.before is not None))

    def _with_verdict(self, change: Change, declared: Sequence[Change]) -> Change:
        # Asked late, because it may be announced after it was seen.
        if change.is_declared:
            return change
        within = max(_DECLARED_WITHIN_STEPS, _BEFORE_SAMPLES * min(self._gaps))
        known = any(abs(other.step - change.step) <= within and _includes(other, change) for other in declared)
        return replace(change, is_declared=known)

    def _unsettled(self) -> list[Change]:
        return [_seen(name, shift) for name, level in self._levels.items() if (shift := level.unsettled) is not None]

    def _take_size(self, step: int, name: str, value: float) -> None:
        if not math.isfinite(value) or (value <= 0 and name != "data_stage"):
            return
        level = self._levels.get(name)
        if level is None:
            level = self._levels[name] = LastingLevel(_TOLERANCES.get(name, _SIZE_TOLERANCE))
        if (shift := level.update(step, value)) is not None:
            self._changes.append(_seen(name, shift))

    def _take_tokens(self, step: int, tokens: int, *, has_size: bool) -> None:
        last = self._tokens
        if last is not None and step <= last[1]:
            return  # a second sample of the same step
        self._tokens = (tokens, step)
        # A count that starts again after a resume says nothing of what was between.
        if last is not None and tokens > last[0] and not has_size:
            self._take_size(step, _TOKENS, (tokens - last[0]) / (step - last[1]))
        if self._next_tokens is not None and tokens > self._next_tokens:
            self._reach(step, tokens, last if last is not None and last[0] < tokens else (0, 0))

    def _reach(self, step: int, tokens: int, last: tuple[int, int]) -> None:
        """Find the steps at which planned numbers of tokens were reached: on a line between the last two counts."""
        for place, entry in enumerate(self._by_tokens):
            if place not in self._reached and entry.tokens is not None and entry.tokens < tokens:
                # The first count of a run that is watched from its middle on lies past what was reached long before.
                share = max(entry.tokens - last[0], 0.0) / (tokens - last[0])
                self._reached[place] = last[1] + int(share * (step - last[1])) + 1
        self._next_tokens = self._nearest_tokens()

    def _nearest_tokens(self) -> float | None:
        ahead = (entry.tokens for place, entry in enumerate(self._by_tokens) if place not in self._reached)
        return min((tokens for tokens in ahead if tokens is not None), default=None)

    def _take_epoch(self, step: int, epoch: float) -> None:
        """A new pass over the data; ``epoch`` may be a number of passes with a fraction, or of the present one."""
        if not math.isfinite(epoch):
            return
        number = math.floor(epoch)
        if self._epoch is not None and number == self._epoch[0]:
            return
        # A number that falls is that of a run that was started again, and says nothing.
        if self._epoch is not None and number > self._epoch[0]:
            is_long = step - self._epoch[1] >= _EPOCH_SAMPLES * max(self._gaps[1], 1)
            if is_long:
                self._changes.append(Change(step, "epoch", f"epoch {number} began", None, None, True))
        self._epoch = number, step

    def _take_rate(self, step: int, rate: float) -> None:
        last = self._rate
        if not math.isfinite(rate):
            return
        self._rate = rate
        if last is None:
            return
        change, before = abs(rate - last), self._rate_changes
        is_jump = 0 < last * _RATE_JUMP < rate or 0 < rate * _RATE_JUMP < last
        # A warm-up multiplies the rate too, but in steps like those before.
        if is_jump and len(before) >= _RATE_NEEDS and change > _RATE_GROWTH * max(before):
            self._changes.append(_seen("learning_rate", Shift(step, last, rate)))
        before.append(change)

    def state_dict(self) -> dict[str, Any]:
        """Everything the future depends on beside the plan, JSON-ready and exact."""
        return {
            "step": self._step,
            "gaps": list(self._gaps),
            "tokens": None if self._tokens is None else list(self._tokens),
            "reached": [list(entry) for entry in self._reached.items()],
            "epoch": self._epoch,
            "rate": self._rate,
            "rate_changes": list(self._rate_changes),
            "levels": {name: level.state_dict() for name, level in self._levels.items()},
            "changes": [asdict(change) for change in self._changes],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict`` made under the same plan; only on a fresh object."""
        self._step = state["step"]
        self._gaps = (state["gaps"][0], state["gaps"][1])
        self._tokens = None if state["tokens"] is None else (state["tokens"][0], state["tokens"][1])
        self._reached = dict(state["reached"])
        self._next_tokens = self._nearest_tokens()
        self._epoch = None if state["epoch"] is None else (state["epoch"][0], state["epoch"][1])
        self._rate = state["rate"]
        self._rate_changes.extend(state["rate_changes"])
        for name, level in state["levels"].items():
            self._levels[name] = LastingLevel(_TOLERANCES.get(name, _SIZE_TOLERANCE))
            self._levels[name].load_state_dict(level)
        self._changes.extend(Change(**change) for change in state["changes"])


def _planned(entry: ScheduledChange, step: int) -> Change:
    return Change(step, entry.what, entry.note or f"planned change of {_words(entry.what)}", None, None, True)


def _seen(name: str, shift: Shift) -> Change:
    what = "batch_tokens" if name == _TOKENS else name
    before, after = two_numbers(shift.before, shift.after)
    return Change(shift.step, what, f"{_words(what)} from {before} to {after}", shift.before, shift.after, False)


def _includes(declared: Change, observed: Change) -> bool:
    """Whether what was declared may have brought what was seen: a new stage of data may be one of longer sequences."""
    if declared.what == "epoch":
        return False
    about_rate = ("learning_rate", "other")
    return declared.what in about_rate if observed.what == "learning_rate" else declared.what != "learning_rate"


def _words(what: str) -> str:
    return _WORDS.get(what, what.replace("_", " "))
