"""From incidents to orders: which action, how often, and what if that is too often."""

from __future__ import annotations

import math
import time as clock
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..telemetry import Change, Event, Incident, Kind, Sample
from .orders import DONE, ActionRecord, Order

# In the run directory: while a file of this name is there, nothing is done.
PAUSE_NAME = "pause_actions"

PAUSE, RESUME = "pause", "resume"  # orders: to leave out no more updates, and to go on with it
_LOOK_EVERY_S = 1.0

DRY_RUN, PAUSED, REFUSED, FAILED, OVER_BUDGET = "dry run", "paused", "refused", "failed", "over budget"
# In this order for one incident: what was good is kept before anything is changed.
_FIRST_TO_LAST = ("checkpoint", "rewind", "lower_lr", "stop")
_CHANGES = ("rewind", "lower_lr", "stop")
_REMEMBERED = 1000


class Good(NamedTuple):
    """A checkpoint.

    Args:
        step: optimizer steps completed when it was saved.
    """

    step: int
    path: str


class Decision(NamedTuple):
    """
    Args:
        order: what to do.
        outcome: why it is not done; None if it is.
    """

    order: Order
    outcome: str | None


# Newest checkpoint at or before a step, as the adapter knows them.
CheckpointBefore = Callable[[int], Good | None]


class Decider:
    """Turns what happened into what is to be done. On the rank that detects.

    Args:
        actions: checked settings.
        is_dry_run: say everything, do nothing.
        pause_file: while it is there, nothing is done; None has none.
    """

    def __init__(self, actions: Sequence[Any], *, is_dry_run: bool, pause_file: Path | None) -> None:
        self._actions = sorted(
            (action for action in actions if action.do in _FIRST_TO_LAST),
            key=lambda action: _FIRST_TO_LAST.index(action.do),
        )
        self._skip_step = next((action for action in actions if action.do == "skip_step"), None)
        self._left_out: deque[int] = deque()
        self._harmless: deque[int] = deque(maxlen=_REMEMBERED)
        self._held: dict[str, Incident] = {}  # open ones that are harmless so far
        self._gone_back_to: set[int] = set()
        self._is_dry_run = is_dry_run
        self._pause_file = pause_file
        self._done: dict[int, deque[int]] = {place: deque() for place in range(len(self._actions))}
        self._about: set[tuple[int, str]] = set()
        self._next_look = 0.0
        self._was_paused = self._is_file_there = False
        self._is_spent = False  # the budget of updates that a device leaves out
        self.checkpoint_before: CheckpointBefore = lambda step: None

    def decide(self, events: Sequence[Event]) -> list[Decision]:
        decisions = []
        for event in events:
            if event.change is Change.CLOSED:
                self._held.pop(event.incident.id, None)
                continue  # it is over: nothing is left to be saved
            decisions += self._decide_about(event.incident, event.step, is_harmless=self._is_harmless(event.incident))
        return decisions

    def reconsider(self, sample: Sample) -> list[Decision]:
        """Whether an update went through that destroys the weights, in an incident of updates left out so far.

        The detector tells of an open incident once. It knows nothing of budgets for updates left out.
        """
        if not self._held or sample.step in self._harmless or not _is_destroyed(sample.metrics):
            return []
        held = [incident for incident in self._held.values() if incident.kind is Kind.NONFINITE]
        return [made for one in held for made in self._decide_about(one, sample.step, is_harmless=False)]

    def _decide_about(self, incident: Incident, step: int, *, is_harmless: bool) -> list[Decision]:
        decisions = []
        if is_harmless:
            self._held[incident.id] = incident
        else:
            self._held.pop(incident.id, None)
        for place, action in enumerate(self._actions):
            is_new = (place, incident.id) not in self._about
            if action.do in _CHANGES and is_harmless:
                continue
            if is_new and action.is_for(incident.kind, incident.severity):
                self._about.add((place, incident.id))
                decisions += self._decide(place, action, incident, step)
        return decisions

    def recall(self, records: Iterable[ActionRecord], step: int) -> None:
        """What was done in earlier sessions of the run counts, instead of what is known so far.

        Args:
            step: at which this session begins; what was done in steps that have been given up counts as of it.
        """
        self._gone_back_to.clear()
        for steps in self._done.values():
            steps.clear()
        for record in records:
            if not record.is_done:
                continue
            for place, action in enumerate(self._actions):
                if action.do == record.do:
                    self._done[place].append(min(record.step, step))
            if record.do == "rewind" and type(to_step := record.details.get("to_step")) is int:
                self._gone_back_to.add(to_step)

    def count_left_out(self, step: int) -> tuple[list[str], list[Order]]:
        """A device left out the update of ``step``: how that is recorded, and what every rank is to do about it."""
        settings = self._skip_step
        if self._is_dry_run or settings is None:
            return [DRY_RUN], []
        while self._left_out and step - self._left_out[0] >= settings.per_steps:
            self._left_out.popleft()
        self._left_out.append(step)
        if len(self._left_out) < settings.at_most:
            return [DONE], []
        reason = f"{settings.at_most} updates left out in {settings.per_steps:,} steps"
        if settings.then == "stop":
            return [DONE], [Order("stop", step, reason, details={"save": False, "exit_status": None})]
        self._is_spent = True  # the next look says so
        return [DONE, f"{OVER_BUDGET}: {settings.at_most} in {settings.per_steps:,} steps"], []

    def look(self, step: int) -> Order | None:
        """Whether updates are to be left out no more, or again: because somebody has paused actions, or for the budget.

        At most one look at the file a second.

        Args:
            step: newest one.
        """
        now = clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_S
            self._is_file_there = self._is_paused()
        settings = self._skip_step
        if self._is_spent and settings is not None and step - self._left_out[0] >= settings.per_steps:
            self._is_spent = False
        was_paused, self._was_paused = self._was_paused, self._is_file_there or self._is_spent
        if was_paused == self._was_paused:
            return None
        return Order(PAUSE if self._was_paused else RESUME, 0, "")

    def rewound(self, step: int) -> None:
        """The run has gone back to ``step``: budgets go on from there, for the same may happen again."""
        self._gone_back_to.add(step)
        self._harmless.clear()
        self._held.clear()
        self._about.clear()
        for steps in (*self._done.values(), self._left_out):
            for place, done_at in enumerate(steps):
                steps[place] = min(done_at, step)

    def _decide(self, place: int, action: Any, incident: Incident, step: int) -> list[Decision]:
        order = Order(action.do, step, incident.message, incident.id)
        if action.do in ("rewind", "checkpoint"):
            good = self._good(action, incident)
            if action.do == "rewind" and good is None:
                refused = f"{REFUSED}: there is no checkpoint from before step {incident.onset_step:,}"
                return [Decision(order, refused), *self._beyond(action, order)]
            order = _with_details(order, action, good)
            if action.do == "rewind":
                # Its own events are superseded with the steps they belong to.
                order = replace(order, details={**order.details, "about": incident.to_json()})
        else:
            order = _with_details(order, action, None)
        if self._is_dry_run:
            return [Decision(order, DRY_RUN)]
        if self._is_paused():
            return [Decision(order, PAUSED)]
        done = self._done[place]
        while done and step - done[0] >= action.per_steps:
            done.popleft()
        if len(done) >= action.at_most:
            limit = f"{OVER_BUDGET}: {action.at_most} in {action.per_steps:,} steps"
            return [Decision(order, limit), *self._beyond(action, order)]
        done.append(step)
        return [Decision(order, None)]

    def left_out(self, step: int) -> None:
        """The update of ``step`` did not happen."""
        self._harmless.append(step)

    def _is_harmless(self, incident: Incident) -> bool:
        """Whether all that it is about is updates that did not happen: the weights never saw them."""
        first = incident.evidence.get("first_nonfinite")
        steps = {incident.onset_step, incident.peak_step} if first is None else {int(first["step"])}
        return steps.issubset(self._harmless)

    def _good(self, action: Any, incident: Incident) -> Good | None:
        """The checkpoint to go back to, or to keep."""
        # A loss that is high at its step was computed before the update of that step: it was the one before that hurt.
        last = incident.onset_step - 2
        back = getattr(action, "back_steps", 0)
        found = self.checkpoint_before(last - back) if back and last >= back else None
        found = found or self.checkpoint_before(last)
        first_nonfinite = incident.evidence.get("first_nonfinite")
        if found is None and first_nonfinite is not None:
            # It had been restless for long. Weights from before they were destroyed are better than none.
            found = self.checkpoint_before(int(first_nonfinite["step"]) - 1)
        if found is not None and action.do == "rewind" and found.step in self._gone_back_to:
            # From there it went wrong again: what was wrong may have been in it.
            found = self.checkpoint_before(found.step - 1) or found
        return found

    def _beyond(self, action: Any, order: Order) -> list[Decision]:
        if action.then != "stop" or self._is_dry_run or self._is_paused():
            return []
        details = {"save": True, "exit_status": None}
        return [Decision(Order("stop", order.step, order.reason, order.incident, details), None)]

    def _is_paused(self) -> bool:
        return self._pause_file is not None and self._pause_file.exists()


def _is_destroyed(metrics: Mapping[str, float]) -> bool:
    # A gradient scaler leaves out by itself what is not finite.
    names = ("loss",) if "loss_scale" in metrics else ("loss", "grad_norm")
    return not all(math.isfinite(metrics.get(name, 0.0)) for name in names)


def _with_details(order: Order, action: Any, good: Good | None) -> Order:
    names = {
        "checkpoint": ("keep", "save"),
        "stop": ("save", "exit_status"),
        "lower_lr": ("factor", "hold_steps", "ramp_steps"),
        "rewind": ("skip_steps", "lr_factor", "ramp_steps", "by_restart", "then"),
    }[action.do]
    details = {name: getattr(action, name) for name in names}
    if good is not None:
        details |= {"to_step": good.step, "checkpoint": good.path}
    return Order(order.do, order.step, order.reason, order.incident, details)
