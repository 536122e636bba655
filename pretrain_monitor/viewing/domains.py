"""Held-out results by domain over the rounds of a run, and what tokenizers make of its texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..detection.retention import CRITICAL, KEY
from ..readers.event_tags import is_held_out
from ..telemetry import Incident, Kind, Sample, Status
from .expected import TWO_SIDED_95
from .finite import finite
from .series import Series

_MOST_POINTS = 2000  # of a domain that are drawn
_MOST_ROUNDS = 20_000  # that are kept; beyond that of the older half every other one
_MOST_CHANGES = 64  # of a domain: what a resumed run may take back
_TOKENIZATION = "tokenization/"
_AVERAGES = ("micro", "macro")
# What other programs call what held-out text costs.
_COST = re.compile(r"loss|perplexity|ppl|bits_per_byte|bpb|cross_entropy", re.IGNORECASE)


class _Unit(NamedTuple):
    """What the last part of a metric's name says.

    Args:
        hides: another metric that says the same less well.
    """

    text: str
    is_better_up: bool = False
    hides: str = ""


_UNITS = {
    "bits_per_byte": _Unit("bits per byte", hides="loss"),
    "accuracy": _Unit("accuracy", is_better_up=True),
    "gold_bits_per_byte": _Unit("bits per byte of the right answers"),
    "bits_learned": _Unit("bits per byte learned", is_better_up=True),
    "loss": _Unit("nats per token"),
}


@dataclass(slots=True)
class _Course:
    """One metric of one domain over the rounds."""

    points: list[tuple[int, float, float | None, float | None]] = field(default_factory=list)  # step, value, interval
    chance: float | None = None

    def cut(self, after: int) -> None:
        while self.points and self.points[-1][0] > after:
            self.points.pop()

    def add(self, point: tuple[int, float, float | None, float | None]) -> None:
        if self.points and self.points[-1][0] == point[0]:
            self.points.pop()  # a run that begins once more from step 0 measures its new weights there
        self.points.append(point)
        if len(self.points) > _MOST_ROUNDS:
            half = len(self.points) // 2
            self.points[:half] = self.points[:half:2]


class DomainResults:
    """Fed with the samples of a run in their order; those of probes are what it is about.

    ``version`` grows with everything that is taken in.
    """

    def __init__(self) -> None:
        self.version = 0
        self._courses: dict[str, _Course] = {}  # by metric, such as heldout/code/bits_per_byte
        self._changes: dict[str, list[tuple[int, dict[str, Any]]]] = {}  # by domain, such as heldout/code
        self._rounds: list[dict[str, Any]] = []
        self._tokenization: dict[str, list[tuple[int, float]]] = {}

    def add_sample(self, sample: Sample) -> None:
        """Take in a round of probes; anything else is none of its business."""
        if sample.meta is None or "probes" not in sample.meta:
            return
        self.version += 1
        self._rounds.append(_round(sample))
        del self._rounds[:-_MOST_ROUNDS]
        metrics = sample.metrics
        for name, value in metrics.items():
            if name.startswith(_TOKENIZATION):
                # Once a session: what a resumed run takes back is not all that is known.
                known = self._tokenization.setdefault(name, [])
                known.append((sample.step, value))
                del known[:-_MOST_CHANGES]
                continue
            domain, _, part = name.rpartition("/")
            if domain and (unit := _UNITS.get(part)) is not None:
                course = self._courses.setdefault(name, _Course())
                course.add((sample.step, value, *_interval(metrics, name)))
                if unit.is_better_up and math.isfinite(chance := metrics.get(f"{domain}/chance", math.nan)):
                    course.chance = chance
        entries = sample.meta.get(KEY)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and isinstance(entry.get("domain"), str):
                kept = self._changes.setdefault(entry["domain"], [])
                kept.append((sample.step, dict(entry)))
                del kept[:-_MOST_CHANGES]

    def supersede(self, after: int) -> None:
        """Take back every round past step ``after``."""
        self.version += 1
        for course in self._courses.values():
            course.cut(after)
        self._courses = {name: course for name, course in self._courses.items() if course.points}
        for kept in self._changes.values():
            while kept and kept[-1][0] > after:
                kept.pop()
        self._rounds = [entry for entry in self._rounds if entry["step"] <= after]
        self._tokenization = {
            name: left
            for name, known in self._tokenization.items()
            if (left := [found for found in known if found[0] <= after])
        }

    def steps(self) -> list[int]:
        """At which there were rounds; of very many the newest."""
        return [entry["step"] for entry in self._rounds[-2000:]]

    def table(self, incidents: Iterable[Incident], signals: Mapping[str, Series] | None = None) -> dict[str, Any]:
        """Everything, JSON-ready.

        Args:
            incidents: of the run; those of kind retention_loss flag their domains.
            signals: of a run without probes of ours: held-out losses among them are shown as they are.
        """
        flags = _flags(incidents)
        hidden = {
            f"{name.rpartition('/')[0]}/{unit.hides}"
            for name in self._courses
            if (unit := _UNITS[name.rpartition("/")[2]]).hides
        }
        entries = [self._entry(name, flags) for name in self._courses if name not in hidden]
        if not entries:
            entries = [_of_others(name, series) for name, series in (signals or {}).items() if _is_loss_of_others(name)]
        return {
            "domains": [entry for entry in entries if not entry["is_average"]],
            "averages": [entry for entry in entries if entry["is_average"]],
            "tokenization": self._tokenization_table(),
            "rounds": self._rounds[-200:],
        }

    def _entry(self, metric: str, flags: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        course = self._courses[metric]
        domain, _, part = metric.rpartition("/")
        unit = _UNITS[part]
        change = self._change(domain, metric)
        flag, incident_id = flags.get(metric, flags.get(domain, (None, None)))
        return {
            "name": domain.partition("/")[2] or domain,
            "probe": domain.partition("/")[0],
            "metric": metric,
            "unit": unit.text,
            "is_better_up": unit.is_better_up,
            "is_average": domain.rpartition("/")[2] in _AVERAGES,
            "points": [[step, *map(finite, rest)] for step, *rest in _thinned(course.points)],
            **_ends(course.points, is_better_up=unit.is_better_up),
            "change": change,
            "documents": None if change is None else change["documents"],
            "chance": course.chance,
            "flag": flag,
            "incident_id": incident_id,
        }

    def _change(self, domain: str, metric: str) -> dict[str, Any] | None:
        """The newest round against the best one, over the same documents."""
        kept = self._changes.get(domain)
        if not kept or kept[-1][1].get("metric") != metric:
            return None
        entry = kept[-1][1]
        return {
            "value": finite(entry.get("change")),
            "lower": finite(entry.get("lower")),
            "upper": finite(entry.get("upper")),
            "relative": finite(entry.get("relative")),
            "p": finite(entry.get("p_adjusted")),
            "best_step": finite(entry.get("best_step")),
            "documents": finite(entry.get("documents")),
            "is_first": bool(entry.get("is_first")),
            "note": str(entry.get("note") or ""),
        }

    def _tokenization_table(self) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, float | None]] = {}
        for name, known in self._tokenization.items():
            text, _, part = name.removeprefix(_TOKENIZATION).partition("/")
            if not part.endswith(("_se", "_lower", "_upper")):
                rows.setdefault(text, {})[part] = finite(known[-1][1])
        return [{"name": text, "metrics": metrics} for text, metrics in rows.items()]


def _round(sample: Sample) -> dict[str, Any]:
    facts = (sample.meta or {}).get("probes")
    facts = facts if isinstance(facts, Mapping) else {}
    each = facts.get("each")
    each = [one for one in each.values() if isinstance(one, Mapping)] if isinstance(each, Mapping) else []
    noted = [one["notes"] for one in each if isinstance(one.get("notes"), list)]
    notes = [str(note) for part in noted for note in part]
    return {
        "step": sample.step,
        "reason": str(facts.get("reason") or ""),
        "seconds": finite(sum(finite(one.get("seconds")) or 0.0 for one in each)) or 0.0,
        "notes": notes[:20],
    }


def _interval(metrics: Mapping[str, float], name: str) -> tuple[float | None, float | None]:
    """The ends of a 95 % interval, if the probe gave them or a standard error."""
    error = metrics.get(f"{name}_se")
    if error is not None:
        return metrics[name] - TWO_SIDED_95 * error, metrics[name] + TWO_SIDED_95 * error
    return metrics.get(f"{name}_lower"), metrics.get(f"{name}_upper")


def _thinned(points: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """As many as are drawn, evenly, with the newest and the extremes among them."""
    if len(points) <= _MOST_POINTS:
        return points
    every = -(-len(points) // _MOST_POINTS)
    kept = {*range(0, len(points), every), len(points) - 1}
    known = [at for at, point in enumerate(points) if math.isfinite(point[1])]
    if known:
        kept |= {min(known, key=lambda at: points[at][1]), max(known, key=lambda at: points[at][1])}
    return [points[at] for at in sorted(kept)]


def _ends(points: Sequence[tuple[Any, ...]], *, is_better_up: bool) -> dict[str, Any]:
    """The first, the best and the newest of some points."""
    known = [point for point in points if math.isfinite(point[1])]
    choose = max if is_better_up else min
    best = choose(known, key=lambda point: point[1], default=None)
    first, newest = points[0], points[-1]
    return {
        "first": {"step": first[0], "value": finite(first[1])},
        "best": None if best is None else {"step": best[0], "value": best[1]},
        "newest": {
            "step": newest[0],
            "value": finite(newest[1]),
            "lower": finite(newest[2]),
            "upper": finite(newest[3]),
        },
    }


def _is_loss_of_others(name: str) -> bool:
    return is_held_out(name) and _COST.search(name) is not None


def _of_others(name: str, series: Series) -> dict[str, Any]:
    """A held-out loss of a run that was recorded by something else: values, without intervals or tests."""
    values = zip(series.steps.tolist(), series.values.tolist(), strict=True)
    points = [(step, value, None, None) for step, value in values]
    ends = _ends(points, is_better_up=False)
    best, newest = ends["best"], ends["newest"]["value"]
    change = None if best is None or newest is None else newest - best["value"]
    return {
        "name": name,
        "probe": "",
        "metric": name,
        "unit": "as logged",
        "is_better_up": False,
        "is_average": False,
        "points": [[step, *map(finite, rest)] for step, *rest in _thinned(points)],
        **ends,
        "change": None
        if change is None
        else {
            "value": change,
            "lower": None,
            "upper": None,
            "relative": change / best["value"] if best["value"] else None,
            "p": None,
            "best_step": best["step"],
            "documents": None,
            "is_first": False,
            "note": "",
        },
        "documents": None,
        "chance": None,
        "flag": None,
        "incident_id": None,
    }


def _flags(incidents: Iterable[Incident]) -> dict[str, tuple[str, str]]:
    """By metric the flag of a domain and the newest incident that it comes from."""
    flags: dict[str, tuple[str, str]] = {}
    for incident in incidents:
        if incident.kind is not Kind.RETENTION_LOSS:
            continue
        domains = incident.evidence.get("domains")
        told = [one for one in domains.values() if isinstance(one, Mapping)] if isinstance(domains, Mapping) else []
        by_metric = {str(one.get("metric")): one for one in told}
        for metric in incident.signals:
            flags[metric] = _flag(incident, by_metric.get(metric, {})), incident.id
    return flags


def _flag(incident: Incident, domain: Mapping[str, Any]) -> str:
    """How a domain stands by itself: an incident is as bad as its worst domain, and over when all of them are back."""
    if incident.status is Status.RECOVERED or domain.get("status") == "back":
        return "recovered"
    relative = finite(domain.get("relative"))
    is_large = incident.severity == "critical" if relative is None else relative >= CRITICAL
    return "critical" if is_large else "lost"
