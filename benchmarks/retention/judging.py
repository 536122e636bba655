"""What the tracker says of trainings, beside what a bare paired test says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.errors import UsageError
from benchmarks.detection.table import Table
from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.paired import holm, level, paired_change
from pretrain_monitor.probes.retention import RetentionTracker

from .scenarios import Scenario, planned
from .training import Rounds

Flags = dict[str, NDArray[np.bool_]]

_ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class Judged:
    """One training: in which rounds each domain is called lost.

    Args:
        steps: shape (rounds,), as are the flags of a domain.
        bare: by a paired test over documents against the best round so far, at 1 %, adjusted for the domains (Holm).
        told: by the tracker.
        rises: of the level over its best so far, as a share.
    """

    scenario: Scenario
    steps: NDArray[np.int64]
    bare: Flags
    told: Flags
    rises: dict[str, NDArray[np.float64]]

    @property
    def seen(self) -> int | None:
        """First round since the domain is no longer shown in which the bare test sees it, and in the next one too."""
        bare = self.bare[self._lost]
        return self._first(bare & np.append(bare[1:], bare[-1]))

    @property
    def told_at(self) -> int | None:
        """First round since then in which the tracker calls it lost."""
        return self._first(self.told[self._lost])

    def false_flags(self, flags: Flags) -> int:
        """How often a domain that nothing was taken from begins to be called lost; the lost one counts until then."""
        count = 0
        for domain, raised in flags.items():
            mine = raised & (self.steps <= self.scenario.switch) if domain == self.scenario.lost else raised
            count += int(mine[0]) + int((mine[1:] & ~mine[:-1]).sum())
        return count

    @property
    def _lost(self) -> str:
        assert self.scenario.lost is not None
        return self.scenario.lost

    def _first(self, flags: NDArray[np.bool_]) -> int | None:
        found = np.flatnonzero(flags & (self.steps > self.scenario.switch))
        return int(found[0]) if len(found) else None


def judge(scenario: Scenario, rounds: Rounds, *, with_rate: bool = True) -> Judged:
    """Feed the rounds of a training to the tracker and to the bare test.

    Args:
        with_rate: whether the tracker is told the learning rate, as a monitor does.
    """
    tracker = RetentionTracker()
    best: dict[str, Scores] = {}
    size = len(rounds.steps)
    bare, told = ({domain: np.zeros(size, dtype=bool) for domain in rounds.nats} for _ in range(2))
    rises = {domain: np.zeros(size) for domain in rounds.nats}
    for number, step in enumerate(rounds.steps.tolist()):
        scores = rounds.scores(number)
        changes = {domain: paired_change(best[domain], now) for domain, now in scores.items() if domain in best}
        adjusted = holm({domain: change.p for domain, change in changes.items() if change.p is not None})
        for domain, now in scores.items():
            if domain in changes:
                bare[domain][number] = adjusted[domain] <= _ALPHA
                rises[domain][number] = changes[domain].change / changes[domain].before
            if domain not in best or level(now) <= level(best[domain]):
                best[domain] = now
        rate = scenario.rate(step, int(rounds.steps[-1]), 1.0) if with_rate else None
        named = {f"heldout/{domain}": now for domain, now in scores.items()}  # as the probe calls them
        for change in tracker.update(step, named, rate):
            told[change.domain.partition("/")[2]][number] = change.is_loss
    return Judged(scenario, rounds.steps, bare, told, rises)


def judge_all(runs: Mapping[str, Rounds], *, with_rate: bool = True) -> dict[str, Judged]:
    """
    Args:
        runs: by folder and the name of a scenario, as in ``dev/00-healthy-4-constant``.

    Raises:
        UsageError: a name that no scenario has.
    """
    judged = {}
    for name, rounds in runs.items():
        known = {scenario.name: scenario for scenario in planned(list(rounds.nats), 0)}
        scenario = known.get(name.rpartition("/")[2])
        if scenario is None:
            raise UsageError(f"{name} is no training of this version: run `train` again into an empty folder")
        judged[name] = judge(scenario, rounds, with_rate=with_rate)
    return judged


def tables_of(judged: Mapping[str, Judged]) -> list[Table]:
    forgetting = {name: one for name, one in judged.items() if one.scenario.lost is not None}
    healthy = {name: one for name, one in judged.items() if one.scenario.lost is None}
    return [_each(forgetting), _delays(forgetting), _false(healthy, forgetting)]


def _each(forgetting: Mapping[str, Judged]) -> Table:
    rows = []
    for name, one in forgetting.items():
        seen, told = one.seen, one.told_at
        assert one.scenario.lost is not None
        rises = one.rises[one.scenario.lost]
        rows.append(
            (
                name,
                str(one.scenario.switch),
                *("-" if at is None else f"{one.steps[at]} ({100 * rises[at]:+.1f} %)" for at in (seen, told)),
                "-" if seen is None else "never" if told is None else str(told - seen),
            )
        )
    columns = ("training", "switch", "a bare test sees it", "told", "rounds later")
    return Table("Domains that are no longer shown to the model", columns, tuple(rows))


def _delays(forgetting: Mapping[str, Judged]) -> Table:
    folders = sorted({name.rpartition("/")[0] for name in forgetting})
    rows = []
    for folder in folders:
        ones = [one for name, one in forgetting.items() if name.rpartition("/")[0] == folder]
        found = Counter(_delay(one) for one in ones if one.seen is not None)
        rows.append((folder, str(sum(found.values())), *(str(found[kind]) for kind in _DELAYS)))
    note = (
        "In rounds, from the first one in which a bare paired test at 1 % sees the loss, and sees it in the next too."
    )
    return Table("How soon it is told", ("trainings", "seen", *_DELAYS), tuple(rows), note)


_DELAYS = ("at once", "1 later", "2 later", "more", "never")


def _delay(one: Judged) -> str:
    if one.told_at is None or one.seen is None:
        return "never"
    return _DELAYS[min(max(one.told_at - one.seen, 0), 3)]


def _false(healthy: Mapping[str, Judged], forgetting: Mapping[str, Judged]) -> Table:
    rows = []
    for what, ones in (("nothing is lost", healthy), ("other domains, and before", forgetting)):
        told = [one.false_flags(one.told) for one in ones.values()]
        bare = [one.false_flags(one.bare) for one in ones.values()]
        counts = (f"{sum(flags)} in {sum(map(bool, flags))}" for flags in (told, bare))
        rows.append((what, str(len(ones)), *counts))
    return Table("Called lost where nothing is", ("trainings", "number", "told", "a bare test"), tuple(rows))
