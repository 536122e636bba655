"""All detectors under test, ours first."""

from __future__ import annotations

from collections.abc import Sequence

from . import packages, rules
from .curves import Baseline
from .errors import UsageError
from .ours import OurDetector
from .ours_offline import OfflineDetector


def detectors() -> tuple[list[Baseline], list[str]]:
    """All that can run here, and a line for each rival whose package is not installed."""
    installed, notices = packages.baselines()
    return [OurDetector(), OfflineDetector(), *rules.baselines(), *installed], notices


def chosen(names: Sequence[str]) -> tuple[list[Baseline], list[str]]:
    """Detectors whose name contains one of the given texts, in any case; all of them, and the notices, without a text.

    Raises:
        UsageError: a text that is in no name.
    """
    everything, notices = detectors()
    for name in names:
        if not any(name.lower() in detector.name.lower() for detector in everything):
            known = ", ".join(detector.name for detector in everything)
            missing = "".join(f"; {notice}" for notice in notices if name.lower() in notice.lower())
            raise UsageError(f'no detector is called "{name}"; choose from {known}{missing}')
    if not names:
        return everything, notices
    return [d for d in everything if any(name.lower() in d.name.lower() for name in names)], []
