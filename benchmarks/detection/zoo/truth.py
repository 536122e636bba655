"""When a fault shows in the loss, for how long, and as what: the run held against its healthy twin."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pretrain_monitor.telemetry import Kind

from ..curves import Floats, TrueEvent, Verdict
from .recipes import Recipe

VISIBLE_SD = 4.0
VISIBLE_ROWS = 3
VISIBLE_WITHIN = 300  # steps from the fault
CALM_SD = 1.0
CALM_ROWS = 15
SPIKE_ROWS = 200  # back later than this, and it is no spike
DRIFT_ROWS = 60  # a slower rise is a drift
CHANGE_ROWS = 100  # an alert this long after a planned change of batch or sequence is neither right nor wrong
_NOISE_ROWS = 100  # to either side


def judge(
    steps: NDArray[np.int64], loss: Floats, twin_loss: Floats, fault_step: int, fault_last: int, group: str
) -> tuple[TrueEvent, ...]:
    """The events of a faulty run.

    The excess is the loss minus the twin's, in robust standard deviations of the twin's own noise around that row. The
    fault is visible, and has to be found, if the excess is above 4 in at least 3 rows of the 300 steps from the fault
    on, or the loss is not finite there. The event begins with the fault and ends before the first calm row: a row whose
    excess is under 1, and so is the median over it and the 14 rows after it. A fault that does not show is an optional
    event as long as it acts, of 300 steps at least: whoever tells it by another signal is right.

    Where the loss leaves the twin's again later, by 4 sd in 3 of 15 rows, a further event begins in the first of them:
    a learning rate that is too high may make a spike every few hundred steps. A finite excursion that ends in NaN or
    Inf is two events.

    Args:
        steps: optimizer step of each row, shape (rows,).
        loss: of the faulty run, shape (rows,), NaN and Inf included.
        twin_loss: of the healthy run at the same steps; at least as long.
        fault_step: first step whose update or loss the fault affects.
        fault_last: last step at which it acts; may lie behind the end of a run that broke down.

    Raises:
        ValueError: the twin is shorter, or the fault lies behind the last step.
    """
    rows = len(loss)
    if len(twin_loss) < rows:
        raise ValueError(f"the twin has {len(twin_loss)} rows, and the run has {rows}: it needs at least as many")
    if fault_step > steps[-1]:
        raise ValueError(f"the fault at step {fault_step} lies behind the last step, {steps[-1]}")
    noise = local_noise(twin_loss)[:rows]
    nats = np.where(np.isfinite(loss), loss - twin_loss[:rows], np.inf)
    excess = nats / noise
    fault_row = int(np.searchsorted(steps, fault_step))
    limit_row = int(np.searchsorted(steps, fault_step + VISIBLE_WITHIN))
    is_high = excess > VISIBLE_SD

    events: list[TrueEvent] = []
    high = np.flatnonzero(is_high[fault_row:limit_row]) + fault_row
    if len(high) >= VISIBLE_ROWS or np.isinf(excess[fault_row:limit_row]).any():
        last = _last_row(excess, int(high[0]))
        events += _excursion(nats, excess, fault_row, int(high[0]), last, group)
    else:
        last = min(limit_row, rows) - 1
        optional_last = max(last, int(np.searchsorted(steps, fault_last, side="right")) - 1)
        kind, size = _kind(nats[: last + 1], fault_row, last), _size(excess[fault_row : last + 1])
        events.append(TrueEvent(fault_row, optional_last, kind, Verdict.OPTIONAL, group, size))
    while (start := _next_excursion(is_high, excess, last + 1)) is not None:
        last = _last_row(excess, start)
        events += _excursion(nats, excess, start, start, last, group)
    return tuple(events)


def local_noise(loss: Floats) -> Floats:
    """Robust standard deviation of a healthy loss around each row, from its row-to-row differences; shape (rows,).

    Differences of independent noise have twice its variance, and hardly any of the slow descent in them.

    Raises:
        ValueError: a loss is not finite, or there are fewer than three.
    """
    if len(loss) < 3 or not np.isfinite(loss).all():
        raise ValueError("the noise of a healthy run needs at least three losses, all of them finite")
    differences = np.diff(loss)
    windows = sliding_window_view(differences, min(2 * _NOISE_ROWS, len(differences)))
    spread = np.median(np.abs(windows - np.median(windows, axis=1, keepdims=True)), axis=1)
    scale = 1.4826 * spread / math.sqrt(2)
    # Towards both ends the window stays where it still fits.
    result: Floats = scale[np.clip(np.arange(len(loss)) - _NOISE_ROWS, 0, len(windows) - 1)]
    return result


def planned_changes(recipe: Recipe, steps: NDArray[np.int64]) -> tuple[TrueEvent, ...]:
    """Where a healthy run changes its batch size or sequence length: the loss, or its noise, may step there."""
    kinds = {
        "batch_size": ("batch size", Kind.NOISE_CHANGE.value),
        "sequence_length": ("sequence length", Kind.LEVEL_SHIFT.value),
    }
    events = []
    for change in recipe.changes:
        for setting, (group, kind) in kinds.items():
            if setting in change.settings:
                first = int(np.searchsorted(steps, change.first))
                last = min(first + CHANGE_ROWS, len(steps)) - 1
                events.append(TrueEvent(first, last, kind, Verdict.OPTIONAL, group))
    return tuple(events)


def _last_row(excess: Floats, start: int) -> int:
    """The row before the first calm one after ``start``; the last row of the run if there is none."""
    for row in range(start + 1, len(excess)):
        if excess[row] < CALM_SD and np.median(excess[row : row + CALM_ROWS]) < CALM_SD:
            return row - 1
    return len(excess) - 1


def _next_excursion(is_high: NDArray[np.bool_], excess: Floats, start: int) -> int | None:
    for row in np.flatnonzero(is_high[start:]) + start:
        if np.isinf(excess[row]) or is_high[row : row + CALM_ROWS].sum() >= VISIBLE_ROWS:
            return int(row)
    return None


def _excursion(nats: Floats, excess: Floats, first: int, visible: int, last: int, group: str) -> list[TrueEvent]:
    """One event, or two where the loss left the twin's at least three rows before it stopped being finite."""
    lost = np.flatnonzero(np.isinf(nats[visible : last + 1])) + visible
    if not len(lost):
        return [
            TrueEvent(first, last, _kind(nats, visible, last), Verdict.MUST, group, _size(excess[visible : last + 1]))
        ]
    nonfinite_row = int(lost[0])
    if nonfinite_row - visible < VISIBLE_ROWS:
        return [TrueEvent(first, last, Kind.NONFINITE.value, Verdict.MUST, group)]
    before = nonfinite_row - 1
    kind = _kind(nats[: before + 1], visible, before, breaks_down=True)
    return [
        TrueEvent(first, before, kind, Verdict.MUST, group, _size(excess[visible : before + 1])),
        TrueEvent(nonfinite_row, last, Kind.NONFINITE.value, Verdict.MUST, group),
    ]


def _kind(nats: Floats, visible: int, last: int, *, breaks_down: bool = False) -> str:
    """The kind of a finite excursion that shows from row ``visible`` to ``last``, by its course in nats.

    Args:
        breaks_down: the next loss is not finite, so that a rise need not be long to be one that never ends.
    """
    is_back = last < len(nats) - 1
    if is_back and last - visible < SPIKE_ROWS:
        return Kind.SPIKE.value
    course = _running_median(nats[visible : last + 1])
    third = len(course) // 3
    if not is_back and third >= (1 if breaks_down else CALM_ROWS):
        end = course[-1] if breaks_down else np.median(course[-CALM_ROWS:])
        # Above anything the noise of a level does, and higher than halfway through.
        if end > 1.25 * np.median(course[third : 2 * third]) and end > 0.9 * course.max():
            return Kind.DIVERGENCE.value
    rise = int(np.argmax(course >= 0.8 * course.max()))
    return Kind.DRIFT.value if rise > DRIFT_ROWS else Kind.LEVEL_SHIFT.value


def _size(excess: Floats) -> float:
    """Largest excess that lasts: of the running median over three rows."""
    return float(max(np.median(excess[row : row + 3]) for row in range(max(1, len(excess) - 2))))


def _running_median(values: Floats) -> Floats:
    half = CALM_ROWS // 2
    return np.array([np.median(values[max(0, row - half) : row + half + 1]) for row in range(len(values))])
