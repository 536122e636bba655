"""Times of several jobs, taken by turns: what slows the machine down for a while slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Took(NamedTuple):
    """Seconds, by the clock and of the processor, all threads together."""

    clock: float
    processor: float


class Ratio(NamedTuple):
    """How many times as long one job takes as another one: the median of the turns, and both ends."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} [{self.low:.2f}, {self.high:.2f}]"


def timed(job: Callable[[], object]) -> Took:
    clock, processor = time.perf_counter(), time.process_time()
    job()
    return Took(time.perf_counter() - clock, time.process_time() - processor)


def in_turns(jobs: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[Took]]:
    """Times of each job by name, one for each turn. Every other turn runs backwards: none is always the first."""
    took: dict[str, list[Took]] = {name: [] for name in jobs}
    for turn in range(turns):
        names = list(jobs)
        for name in names if turn % 2 == 0 else reversed(names):
            took[name].append(timed(jobs[name]))
    return took


def ratio(slow: Sequence[Took], fast: Sequence[Took], *, of: str = "clock") -> Ratio:
    """Turn by turn: times of two different turns have nothing to do with each other."""
    ratios = [getattr(one, of) / getattr(other, of) for one, other in zip(slow, fast, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))
