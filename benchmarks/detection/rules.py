"""The field's rules, re-implemented from their descriptions so that they run without their packages or frameworks.

Each class names the source and version it follows, and what had to be assumed. With values that are not finite it does
what its original does. Gradient norm and learning rate are used where the original uses them and the curve has them.
"""

from __future__ import annotations

from .curves import Baseline
from .rules_offline import Gradsnitch, Losslint, Runmedic, Trainspotter
from .rules_ratio import Forgather, KillLossSpike, SkipSpike, SpikeDetection, SpikyLossDetector, UnexpectedlyLarge
from .rules_reference import DetrendedMad, NanOnly, ZScore
from .rules_sigma import LevanterSkipStep, LlmcOutlierDetector, SkipStepOptimizer, StabilityMonitor, WandbZScore, ZClip
from .rules_tools import Llmreport, Trainpulse
from .rules_trainscope import TrainscopeCusum, TrainscopePercentile, TrainscopeZScore


def baselines() -> list[Baseline]:
    """All of them with their default limits; names are unique."""
    return [
        NanOnly(),
        ZScore(),
        ZScore(on_log=True),
        DetrendedMad(),
        StabilityMonitor(),
        SkipStepOptimizer(),
        LevanterSkipStep(),
        LlmcOutlierDetector(),
        WandbZScore(),
        KillLossSpike(),
        UnexpectedlyLarge(),
        SkipSpike(1.1),
        SkipSpike(1.25),
        SpikeDetection(),
        SpikyLossDetector(),
        Forgather(),
        ZClip(),
        TrainscopeCusum(),
        TrainscopeZScore(),
        TrainscopePercentile(),
        Llmreport(),
        Trainpulse(),
        Trainpulse(with_plateau=False),
        Trainspotter(),
        Trainspotter(errors_only=True),
        Losslint(),
        Runmedic(),
        Gradsnitch(),
    ]
