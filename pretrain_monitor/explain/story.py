"""All there is to say of one incident, sample by sample; nothing here depends on how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from ..detection.alarm import Chart
from ..detection.residual import Floats
from ..telemetry import Event, Incident


@dataclass(frozen=True, slots=True)
class Firing:
    """A chart over its threshold at one sample.

    Args:
        threshold: None for a rule that looks at an open incident, whose limit depends on what it sees.
        is_counted: whether it is among those that the incident rests on.
        rule: such a rule, in words; empty for a chart.
    """

    step: int
    signal: str
    chart: Chart
    score: float
    threshold: float | None
    value: float
    is_counted: bool
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of samples above the frozen trend, as the segmentation sees it."""

    first_step: int
    last_step: int
    sd: float
    first_value: float
    last_value: float


@dataclass(frozen=True, slots=True)
class Track:
    """One signal in the window, one entry a finite value; NaN where nothing was known or judged yet.

    Args:
        expected: of the live trend, as are ``lower`` and ``upper``, 3 sd around it.
        level: largest level CUSUM; at a sample where the chart fired its score, after which it starts again from 0.
        nonfinite: steps at which the value was NaN or infinite.
        frozen_steps: from where the trend before the incident was taken to the end; empty if there was none.
        frozen: its values there.
    """

    name: str
    steps: Floats
    values: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    residual: Floats
    outlier_threshold: Floats
    level: Floats
    level_threshold: Floats
    scale: Floats
    scale_threshold: Floats
    nonfinite: Floats
    frozen_steps: Floats
    frozen: Floats
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocks:
    """The chart of blocks of the loss, one entry a block of sixteen.

    Args:
        last_steps: the step of the loss that completed it, at which it was judged.
        means: trimmed, in nats, as is what was ``expected``.
    """

    first_steps: Floats
    last_steps: Floats
    means: Floats
    expected: Floats
    level: Floats
    threshold: Floats


@dataclass(frozen=True, slots=True)
class Explanation:
    """One incident with what the detector saw and computed around it.

    Args:
        tracks: the leading signal first, then the others of the incident, then what is shown for comparison.
        firings: every chart over its threshold in the window, oldest first.
        told: the events of the incident, as they were told during the run.
        early_steps: steps at which the early rule watched ...
        early_reference: ... and the best level of the loss until then.
        first_step: of the window, as is ``last_step``.
        goes_on: the window ends before the incident does.
        samples_per_pair: 1 if every sample is there; else the smallest and the largest of so many each.
        unshown: signals of the incident that are not among the tracks.
        neighbours: other incidents within the window.
        again: other failures of the same probe, wherever in the log.
    """

    incident: Incident
    tracks: tuple[Track, ...]
    firings: tuple[Firing, ...]
    told: tuple[Event, ...]
    blocks: Blocks | None
    early_steps: Floats
    early_reference: Floats
    first_step: int
    last_step: int
    goes_on: bool = False
    samples_per_pair: int = 1
    unshown: tuple[str, ...] = ()
    neighbours: tuple[Incident, ...] = ()
    again: tuple[Incident, ...] = ()

    @property
    def opened_step(self) -> int:
        return int(self.incident.evidence["opened_step"])

    @property
    def counted(self) -> list[Firing]:
        """The alarms that the incident rests on, oldest first."""
        return [firing for firing in self.firings if firing.is_counted]
