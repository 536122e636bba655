"""Which events a signal gets, one after the other, and what each adds to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np

from . import shapes
from .curves import Floats, TrueEvent, Verdict
from .local_noise import is_logarithmic, local_level, local_sd
from .scoring import window

_FIRST_EVENT = 300
_GAP = (100, 400)  # clear rows between the window of one event and the beginning of the next
_DIVERGES = 0.6  # share of the curves that end in a divergence
_CLASSES = (*["spike"] * 3, *["small_spike"] * 3, *["level_shift"] * 3, *["drift"] * 2, "noise_change", "plateau")
_SLOW_ROWS = 300  # a drift that takes longer has a group of its own
_LEAST_FALL_SD = 2.0  # a plateau where the trend would have fallen by less is none
_LARGE = ("spike", "divergence")  # groups whose echo in the gradient norm is as large as they are


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal on the scale it is judged on, with the level and noise around each row."""

    values: Floats
    level: Floats
    sd: Floats
    is_logarithmic: bool

    @classmethod
    def of(cls, raw: Floats) -> Signal:
        is_log = is_logarithmic(raw)
        values = np.log(raw) if is_log else raw
        level = local_level(values)
        return cls(values, level, local_sd(values, level), is_log)

    def raw(self, added: Floats) -> Floats:
        """The signal as logged, with something added on the scale it is judged on."""
        changed = self.values + added
        return np.asarray(np.exp(changed)) if self.is_logarithmic else changed


def plan(loss: Signal, rng: np.random.Generator) -> Iterator[tuple[TrueEvent, Floats]]:
    """Events from row 300 on, one class after the other in random order, and what each adds to the loss."""
    rows = len(loss.values)
    room = rows
    if rng.random() < _DIVERGES:
        first = rows - int(rng.integers(100, 300))
        yield _divergence(loss, first, rng)
        room = first - int(rng.integers(*_GAP))
    first = _FIRST_EVENT + int(rng.integers(1, _GAP[1]))
    # A class without room is passed over: the next is a shorter one, or none fits any more.
    misses = 0
    for kind in cycle(rng.permutation(_CLASSES).tolist()):
        made = _made(kind, loss, first, room, rng)
        misses = 0 if made else misses + 1
        if misses > len(_CLASSES):
            return
        if made:
            yield made
            first = window(made[0], rows)[1] + int(rng.integers(*_GAP))


def _made(kind: str, loss: Signal, first: int, room: int, rng: np.random.Generator) -> tuple[TrueEvent, Floats] | None:
    """An event of a class that begins at ``first``, or None if its window would not end before ``room``."""
    rows = len(loss.values)
    if first >= room:
        return None
    if kind in ("noise_change", "plateau"):
        made = _noise_change(loss, first, rng) if kind == "noise_change" else _plateau(loss, first, rng)
    else:
        shape = _shape(kind, loss, first, rng)
        named = "spike" if kind == "small_spike" else kind
        group = "slow_drift" if kind == "drift" and shape.last >= _SLOW_ROWS else kind
        event = TrueEvent(first, first + shape.last, named, Verdict.MUST, group, shape.size)
        made = event, shapes.laid(shape, first, rows) * loss.sd[first]
    fits = made is not None and made[0].last < room and window(made[0], rows + room)[1] < room
    return made if fits else None


def _shape(kind: str, loss: Signal, first: int, rng: np.random.Generator) -> shapes.Shape:
    if kind == "spike":
        return shapes.spike(rng.uniform(10, 40), int(rng.integers(1, 10)), log_uniform(rng, 5, 160))
    if kind == "small_spike":
        return shapes.spike(rng.uniform(4, 10), int(rng.integers(1, 4)), log_uniform(rng, 5, 160))
    if kind == "level_shift":
        return shapes.level_shift(rng.uniform(1.5, 4), int(rng.integers(250, 600)), comes_back=rng.random() < 0.5)
    length = int(log_uniform(rng, 30, 3000))
    # The loss itself is to rise by this much, so what the trend falls meanwhile is added: a rise that only slows the
    # descent down is none that a human would see.
    end = min(first + length, len(loss.values) - 1)
    fall = max(float(loss.level[first] - loss.level[end]) / float(loss.sd[first]), 0.0)
    size = rng.uniform(3, 10)
    return replace(shapes.drift(size + fall, length), size=size)


def _divergence(loss: Signal, first: int, rng: np.random.Generator) -> tuple[TrueEvent, Floats]:
    """To 1.3-3 times the loss, and by 20 sd at least."""
    sd = float(loss.sd[first])
    level = float(loss.level[first])
    times = rng.uniform(1.3, 3)
    height = float(np.log(times)) if loss.is_logarithmic else level * (times - 1)
    rows = len(loss.values)
    shape = shapes.divergence(max(height / sd, 20.0), int(rng.integers(20, 100)), rows - first, rng.uniform(1, 2))
    event = TrueEvent(first, rows - 1, "divergence", Verdict.MUST, "divergence", shape.size)
    return event, shapes.laid(shape, first, rows) * sd


def _noise_change(loss: Signal, first: int, rng: np.random.Generator) -> tuple[TrueEvent, Floats]:
    """Two to four times the noise for 200-500 rows, both ways, about an unchanged level."""
    last = first + int(rng.integers(200, 500)) - 1
    times = rng.uniform(2, 4)
    added = np.zeros(len(loss.values))
    part = slice(first, last + 1)
    added[part] = (times - 1) * (loss.values - loss.level)[part]
    return TrueEvent(first, last, "noise_change", Verdict.OPTIONAL, "noise_change", times), added


def _plateau(loss: Signal, first: int, rng: np.random.Generator) -> tuple[TrueEvent, Floats] | None:
    """The trend stands still for 500-1500 rows, where it would have fallen; the lost descent is not made up for."""
    last = first + int(rng.integers(500, 1500)) - 1
    if last >= len(loss.values):
        return None
    fall = float(loss.level[first] - loss.level[last]) / float(loss.sd[first])
    if fall < _LEAST_FALL_SD:
        return None
    added = np.zeros(len(loss.values))
    added[first : last + 1] = loss.level[first] - loss.level[first : last + 1]
    added[last + 1 :] = added[last]
    return TrueEvent(first, last, "plateau", Verdict.OPTIONAL, "plateau", fall), added


def echo(event: TrueEvent, norm: Signal, rng: np.random.Generator) -> Floats:
    """What the gradient norm does in an event of the loss: a jump that leads by 0-5 rows and dies out in some tens."""
    first = max(0, event.first - int(rng.integers(0, 6)))
    size = (
        rng.uniform(4, 10)
        if event.group in ("small_spike", "level_shift", "drift", "slow_drift")
        else rng.uniform(10, 40)
    )
    shape = shapes.spike(size, int(rng.integers(1, 4)), log_uniform(rng, 2, 20))
    return shapes.laid(shape, first, len(norm.values)) * float(norm.sd[first])


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
