"""Is this run healthy? One state and one sentence, from what its log says and how old that is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from ..durations import duration
from ..rundir import LOCK_NAME
from ..telemetry import Incident, Kind, Severity, Status
from .sessions import End

_FATAL = (Kind.DIVERGENCE, Kind.NONFINITE)
# A checkpoint or a round of probes takes minutes now and then; a step that takes so much longer is no such pause.
_SILENT_AFTER_S = 120.0
_SILENT_AFTER_STEPS = 30.0


class State(StrEnum):
    """How a run stands; the worst that holds."""

    EMPTY = "empty"
    HEALTHY = "healthy"
    INCIDENT = "incident open"
    DIVERGED = "diverged"
    STALLED = "stalled"
    SILENT = "no data"
    FINISHED = "finished"
    ENDED = "ended"


class Health(NamedTuple):
    """State, the sentence that goes with it, and how bad that is: good, quiet, warning or critical."""

    state: State
    text: str
    tone: str = "good"


def judge(
    incidents: Sequence[Incident],
    *,
    step: int | None,
    age_s: float | None,
    interval_s: float | None,
    end: End | None,
    is_alive: bool | None,
) -> Health:
    """How a run stands.

    Args:
        step: the newest; None before the first sample.
        age_s: of the newest sample; None if samples have no time.
        interval_s: usual seconds between two samples.
        is_alive: whether a process holds the run directory; None if nobody can tell.
    """
    open_alerts = [one for one in incidents if one.is_alert and one.status is Status.OPEN]
    last = [one for one in incidents if one.is_alert and one.status is Status.ENDED_RUN]
    if end is not None:
        return _ended(end, last, step)
    if step is None:
        return Health(State.EMPTY, "no samples yet", "quiet")
    limit = max(_SILENT_AFTER_S, _SILENT_AFTER_STEPS * (interval_s or 0.0))
    if age_s is not None and age_s > limit:
        for_so_long = duration(age_s)
        if is_alive:
            return Health(
                State.STALLED, f"no step for {for_so_long}, and its process is still there: it may hang", "warning"
            )
        gone = ", and no process holds the run: ended without a word" if is_alive is False else ""
        return Health(State.SILENT, f"no data for {for_so_long}{gone}", "warning")
    if open_alerts:
        fatal = [one for one in open_alerts if one.kind in _FATAL]
        worst = max(fatal or open_alerts, key=lambda one: (one.severity.rank, one.detected_step))
        more = f" (and {len(open_alerts) - 1} more open)" if len(open_alerts) > 1 else ""
        return Health(State.DIVERGED if fatal else State.INCIDENT, worst.message + more, worst.severity.value)
    if any(one.kind is Kind.PLATEAU and one.status is Status.OPEN for one in incidents):
        return Health(State.STALLED, "the loss has stopped falling", "warning")
    return Health(State.HEALTHY, _behind(incidents))


def _ended(end: End, last: Sequence[Incident], step: int | None) -> Health:
    at = f"at step {step:,}" if step is not None else "before its first step"
    if end.reason not in ("", "finished"):
        return Health(State.ENDED, f"ended {at}: {end.reason}", "warning")
    fatal = [one for one in last if one.kind in _FATAL]
    if fatal:
        return Health(State.DIVERGED, f"finished {at} while it had diverged: {fatal[-1].message}", "critical")
    if last:
        worst = max(last, key=lambda one: one.severity.rank)
        text = f"finished {at}, with an incident that was still open: {worst.message}"
        return Health(State.FINISHED, text, worst.severity.value)
    return Health(State.FINISHED, f"finished {at}")


def _behind(incidents: Sequence[Incident]) -> str:
    alerts = [one for one in incidents if one.is_alert]
    if not alerts:
        return "no alert so far"
    lasting = [one for one in alerts if one.status is Status.PERSISTENT]
    if lasting:
        return f"nothing open; {_count(len(lasting), 'alert')} did not come back: the loss is higher since then"
    return f"nothing open; {_count(len(alerts), 'alert')} behind it, all recovered"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def counts(incidents: Sequence[Incident]) -> dict[str, int]:
    """How many incidents of each severity."""
    return {severity.value: sum(one.severity is severity for one in incidents) for severity in Severity}


def is_held(run_dir: Path) -> bool | None:
    """Whether a process of this machine holds a run directory; None if that cannot be told.

    From the kernel's table and not by trying to take the lock: a training that starts at that moment would be refused.
    """
    try:
        facts = (run_dir / LOCK_NAME).stat()
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    for entry in table.splitlines():
        fields = entry.split()
        if place in fields:
            return True
    # Of a directory on another machine this table knows nothing: then silence says nothing either.
    return False if _is_local(run_dir) else None


def _is_local(path: Path) -> bool:
    """Whether the file system is one that no other machine writes to."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        device = path.stat().st_dev
    except (OSError, UnicodeDecodeError):
        return False
    place = f"{os.major(device)}:{os.minor(device)}"
    for entry in mounts.splitlines():
        before, _, after = entry.partition(" - ")
        if place in before.split()[2:3]:
            return after.split()[0] not in _SHARED
    return False


_SHARED = frozenset({"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse", "9p", "afs", "wekafs"})
