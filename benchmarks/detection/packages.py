"""The field through its own packages, as far as they are installed: ``pip install 'pretrain-monitor[bench-peers]'``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from . import packages_live as live
from . import packages_offline as offline
from .curves import Baseline, Curve, Finding
from .limits import Limited
from .rules_windows import LIVE, OFFLINE

Detect = Callable[[Any, Curve], list[Finding]]  # of an imported module and a curve


@dataclass
class Package:
    """A detector of an installed package.

    Args:
        distribution: what pip calls it.
        module: the module that ``find`` is handed.
        variant: which of several detectors or readings of the package.
    """

    distribution: str
    module: str
    find: Detect
    variant: str = ""
    mode: Literal["live", "offline"] = LIVE

    def __post_init__(self) -> None:
        self.name = f"{self.distribution} {self.variant}".rstrip() + " (package)"

    def load(self) -> Any:
        """The module; what else of its package the detector needs is imported with it.

        Raises:
            ImportError: the package, or something that it needs, is not installed.
        """
        return importlib.import_module(self.module)

    def detect(self, curve: Curve) -> list[Finding]:
        return self.find(self.load(), curve)


@dataclass
class River(Limited):
    """A drift detector of river on the loss, at its defaults; both ways, up and down, but where the variant says up.

    Args:
        variant: ``Page-Hinkley`` (Page 1954), ``Page-Hinkley, up`` or ``ADWIN`` (Bifet and Gavalda 2007).
        limit: the threshold of Page-Hinkley in summed nats; for ADWIN one over its significance value.
    """

    variant: str
    limit: float
    limits: tuple[float, ...]
    distribution = "river"
    mode = LIVE

    def __post_init__(self) -> None:
        self.name = f"river {self.variant} (package)"

    def load(self) -> Any:
        return importlib.import_module("river.drift")

    def detect(self, curve: Curve) -> list[Finding]:
        return live.river(self.variant, self.limit, self.load(), curve)


_SUMS = (
    0.5,
    0.7,
    1.0,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    5.0,
    7.0,
    10.0,
    15.0,
    20.0,
    30.0,
    50.0,
    100.0,
    200.0,
    500.0,
    1000.0,
    2000.0,
)
_INVERSE_SIGNIFICANCES = (5.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 1e4, 1e5, 1e6, 1e8, 1e12, 1e16, 1e24, 1e32, 1e64)

_KNOWN: tuple[Package | River, ...] = (
    Package(
        "trainscope", "trainscope.core.detectors", partial(live.trainscope, "changepoint", "level_shift"), "changepoint"
    ),
    Package("trainscope", "trainscope.core.detectors", partial(live.trainscope, "z_score", "spike"), "z_score"),
    Package("trainscope", "trainscope.core.detectors", partial(live.trainscope, "percentile", "spike"), "percentile"),
    Package("llmreport", "llmreport", live.llmreport),
    Package("trainpulse", "trainpulse", partial(live.trainpulse, True)),
    Package("trainpulse", "trainpulse", partial(live.trainpulse, False), "without plateau"),
    Package("stabilityguard", "stabilityguard.core.spike_detector", live.stabilityguard),
    Package("zclip", "zclip", live.zclip),
    Package("lightning", "lightning.fabric.utilities.spike", live.lightning, "SpikeDetection"),
    Package("lyapmon", "lyapmon", live.lyapmon),
    Package("training-doctor", "training_doctor", live.training_doctor),
    River("Page-Hinkley", 50.0, _SUMS),
    River("Page-Hinkley, up", 50.0, _SUMS),
    River("ADWIN", 500.0, _INVERSE_SIGNIFICANCES),
    Package("trainspotter", "trainspotter.detectors", partial(offline.trainspotter, False), mode=OFFLINE),
    Package("trainspotter", "trainspotter.detectors", partial(offline.trainspotter, True), "errors", OFFLINE),
    Package("runmedic", "runmedic.checks", offline.runmedic, mode=OFFLINE),
    Package("losslint", "losslint.checks", offline.losslint, mode=OFFLINE),
    Package("gradsnitch", "gradsnitch", offline.gradsnitch, mode=OFFLINE),
)


def baselines() -> tuple[list[Baseline], list[str]]:
    """Those whose package can be imported, and a line for each package that cannot."""
    return importable(_KNOWN)


def importable(known: Sequence[Package | River]) -> tuple[list[Baseline], list[str]]:
    found: list[Baseline] = []
    notices: dict[str, str] = {}
    for baseline in known:
        try:
            baseline.load()
        except ImportError as error:
            notices[baseline.distribution] = _notice(baseline.distribution, error)
        else:
            found.append(baseline)
    return found, list(notices.values())


def _notice(name: str, error: ImportError) -> str:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed: pip install 'pretrain-monitor[bench-peers]'"
    return f"{name} {installed} cannot be imported ({error}): pip install 'pretrain-monitor[bench-peers]'"
