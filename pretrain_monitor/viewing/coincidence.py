"""Incidents that begin at the same step in several runs: with the same data in the same order, the data did it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..telemetry import Incident, Kind

# Onsets are estimates: between two runs on the same batches they differ by a step or two.
_WITHIN_STEPS = 2
_LIKELY = 0.05

# What a batch can do. A learning rate that jumps at the same step in two runs is a setting that they share.
_OF_DATA = frozenset(
    {
        Kind.SPIKE,
        Kind.BAD_BATCH,
        Kind.GRAD_SPIKE,
        Kind.LEVEL_SHIFT,
        Kind.DRIFT,
        Kind.DIVERGENCE,
        Kind.NONFINITE,
        Kind.NOISE_CHANGE,
    }
)


class RunIncidents(NamedTuple):
    """The incidents of a run and how many steps it has been watched for."""

    incidents: Sequence[Incident]
    steps: int


class Coincidence(NamedTuple):
    """Incidents that begin together.

    Args:
        step: the earliest onset.
        incidents: id of the incident by the name of its run.
        chance: probability that incidents of the other runs lie so near to this one if they had nothing to do with it.
        is_likely_data: whether that is below 5 %.
    """

    step: int
    incidents: Mapping[str, str]
    chance: float
    is_likely_data: bool


def coincidences(runs: Mapping[str, RunIncidents]) -> list[Coincidence]:
    """Groups of incidents of at least two runs whose onsets lie within two steps, by step.

    Many incidents meet by chance: with n of them in L steps, one of another run has one within two steps with a
    probability of 1 - exp(-5 n / L), which is what ``chance`` multiplies over the runs but the first.
    """
    found = []
    group: list[tuple[int, str, Incident]] = []
    for entry in _entries(runs):
        if group and entry[0] - group[0][0] > _WITHIN_STEPS:
            found += _coincidence(group, runs)
            group = []
        group.append(entry)
    found += _coincidence(group, runs)
    return found


def _entries(runs: Mapping[str, RunIncidents]) -> list[tuple[int, str, Incident]]:
    entries = [
        (incident.onset_step, name, incident)
        for name, run in runs.items()
        for incident in run.incidents
        if incident.kind in _OF_DATA
    ]
    return sorted(entries, key=lambda entry: entry[:2])


def _coincidence(group: Sequence[tuple[int, str, Incident]], runs: Mapping[str, RunIncidents]) -> list[Coincidence]:
    members: dict[str, Incident] = {}
    for _, name, incident in group:
        # Of two in one run the graver: a bad batch that a spike grew out of.
        known = members.get(name)
        if known is None or incident.severity > known.severity:
            members[name] = incident
    if len(members) < 2:
        return []
    odds = sorted(_chance(runs[name]) for name in members)
    chance = math.prod(odds[:-1])
    ids = {name: incident.id for name, incident in members.items()}
    return [Coincidence(group[0][0], ids, chance, chance < _LIKELY)]


def _chance(run: RunIncidents) -> float:
    """Of an incident of this run within two steps of any given step."""
    count = sum(one.kind in _OF_DATA for one in run.incidents)
    return 1.0 - math.exp(-count * (2 * _WITHIN_STEPS + 1) / max(run.steps, 1))
