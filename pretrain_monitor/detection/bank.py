"""All statistical charts of all signals, advanced together one sample at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter, methodcaller
from struct import Struct
from typing import Any

import numpy as np

from .alarm import Alarm, Chart
from .charted import ChartedSignal
from .history import History
from .joint import JointRule
from .judge import Judge
from .reading import Reading
from .residual import INIT_SAMPLES, Floats
from .scalar import FEW_SIGNALS
from .scales import Scales, Transform, from_scale, to_scale
from .states import SignalStates
from .stepping import Stepper
from .warmup import WarmUp

_NOISE_SAMPLES = 48


class SignalBank:
    """Residual, whitening and charts for every signal: in plain floats for a few, vectorised with numpy for many.

    Every signal is independent of the others: its clock counts its own finite values, so a signal that is logged
    rarely, starts late or drops out for a while is judged as if it were alone.
    """

    def __init__(
        self,
        false_alarms_per_10k: float,
        warmup: int,
        memory: int,
        transform: Transform = "auto",
        *,
        few: int = FEW_SIGNALS,
    ) -> None:
        self.names: list[str] = []
        self.history = History()
        self._column: dict[str, int] = {}
        self._states = SignalStates(few)
        self._scales = Scales(transform)
        self._judge = Judge(false_alarms_per_10k, warmup)
        self._joint = JointRule(false_alarms_per_10k)
        self._warm_up = WarmUp(self._states, self._scales, self.history, self._judge, samples=warmup, memory=memory)
        self._stepper = Stepper(self.names, self._states, self._scales, self._warm_up, self._judge, self._joint, memory)
        self._order: tuple[str, ...] = ()
        self._packing = Struct("")  # makes an array of a list of floats in a third of the time that numpy takes
        self._pick: Callable[[Mapping[str, float]], Iterable[float]] | None = None

    def update(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take in one sample; return the alarms it raises, in the order of the signals."""
        values = self._row_of(metrics)
        if not values:
            return []  # a run may begin with steps that have neither loss nor norm
        alarms: list[Alarm] = []
        is_complete = math.isfinite(sum(values)) or all(map(math.isfinite, values))
        if not is_complete:
            for column, name in enumerate(self.names):
                if not math.isfinite(values[column]):
                    values[column] = math.nan
                    if name in metrics:
                        alarms.append(Alarm(name, Chart.NONFINITE, math.inf, math.inf, metrics[name]))
        if (states := self._states.lists) is not None:
            self._take(step, values, values)
            return alarms + self._stepper.step_each(self.history.rows - 1, values, states)
        row = np.frombuffer(self._packing.pack(*values))
        self._take(step, values, row)
        return alarms + self._stepper.step_together(self.history.rows - 1, row, is_complete=is_complete)

    def band(self, name: str, width_sd: float = 3.0) -> tuple[float, float, float] | None:
        """Expected value of the newest sample and the band around it, in the signal's own unit; None in warm-up."""
        signal = self._charted(name)
        return None if signal is None else signal.band(width_sd)

    def reading(self, name: str) -> Reading | None:
        """The charts of a signal at the newest sample; None where it has no finite value there, and in warm-up."""
        if (signal := self._charted(name)) is None:
            return None
        thresholds = self._judge.thresholds(self._column[name], signal.seen)
        return signal.reading(thresholds, is_judged=signal.seen > self._warm_up.samples)

    def judged(self, name: str) -> tuple[float, float, bool] | None:
        """Newest value of a signal on its own scale, its long-run noise, and whether that scale is the log.

        None before the signal is charted, and where it was not part of the newest sample.
        """
        signal = self._charted(name)
        if signal is None or (value := signal.value) != value:
            return None
        return (math.log(value) if signal.is_log else value), signal.long_run_noise, signal.is_log

    def noise_state(self, name: str) -> list[float] | None:
        """What is known of a signal's noise and slope by now, to be put back after an event; None in warm-up."""
        signal = self._charted(name)
        # Before the charts begin little is known, and nothing worth keeping.
        return signal.noise_state if signal is not None and signal.seen > self._warm_up.samples else None

    def put_back(self, name: str, noise: list[float], rows: int) -> None:
        """Go on from where a signal is now, judged by its last ``rows`` samples, with the noise it had before an event.

        Nothing happens to a signal that is not charted by now, or has no value in these samples.
        """
        _, values = self.history.column(self._column[name], self.history.rows - rows)
        _, recent = self.history.column(self._column[name], self.history.rows - _NOISE_SAMPLES)
        if len(values) and (signal := self._charted(name)) is not None:
            signal.put_back(noise, values, recent)

    def autocorrelation(self, name: str) -> float:
        """Autocorrelation of a signal's noise from one sample to the next, as far as the whitening knows it."""
        signal = self._charted(name)
        return 0.0 if signal is None else signal.autocorrelation

    def to_scale(self, name: str, values: Any) -> Any:
        """Values of a signal on the scale on which it is judged: log or as they are."""
        return to_scale(values, is_log=self.is_log(name))

    def from_scale(self, name: str, x: float) -> float:
        return from_scale(x, is_log=self.is_log(name))

    def is_log(self, name: str) -> bool:
        column = self._column[name]
        if self._warm_up.is_ready[column]:
            return self._scales.is_log[column]
        _, values = self.history.column(column, self.history.rows - INIT_SAMPLES)
        return self._scales.fits_log(column, values)

    def column(self, name: str) -> int | None:
        return self._column.get(name)

    def _charted(self, name: str) -> ChartedSignal | None:
        """A signal that is charted; None before."""
        column = self._column.get(name)
        if column is None or not self._warm_up.is_ready[column]:
            return None
        return ChartedSignal(self._states.of(column), self._scales.is_log[column], self.history.newest(column))

    def _take(self, step: int, values: list[float], row: list[float] | Floats) -> None:
        """Keep the newest row, here as a list and as the charts take it, and bring every signal to where they can."""
        self.history.append(step, row)
        warm_up = self._warm_up
        if warm_up.waiting or not warm_up.are_all_mature:
            warm_up.take(values)
        # After the warm-up: the very value with which a log scale begins may be outside of it.
        if left := self._scales.outside(row):
            warm_up.leave_log_scale(left)
        if not warm_up.are_all_mature:
            warm_up.settle()

    def _row_of(self, metrics: Mapping[str, float]) -> list[float]:
        """A value of every signal, NaN where the sample has none; signals never seen before are admitted."""
        # Names hardly ever change from one sample to the next, and asking for each of a hundred takes long.
        order = tuple(metrics)
        if order != self._order:
            self._order = order
            for name in order:
                if name not in self._column:
                    self._admit(name)
            if order == tuple(self.names):
                self._pick = methodcaller("values")
            else:
                self._pick = itemgetter(*self.names) if len(order) == len(self.names) else None
        if self._pick is not None:
            return list(self._pick(metrics))
        return [metrics.get(name, math.nan) for name in self.names]

    def _admit(self, name: str) -> None:
        self._column[name] = len(self.names)
        self.names.append(name)
        self._packing = Struct(f"{len(self.names)}d")
        self.history.add_column()
        self._states.add()
        self._scales.add(name)
        self._judge.add(name)
        self._warm_up.add()

    def state_dict(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "state": self._states.state_dict(),
            "is_log": list(self._scales.is_log),
            "is_ready": list(self._warm_up.is_ready),
            "judge": self._judge.state_dict(),
            "joint": self._joint.state_dict(),
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in state["names"]:
            self._admit(name)
        self._states.load_state_dict(state["state"])
        self._scales.restore(list(state["is_log"]))
        self._judge.load_state_dict(state["judge"])
        self._joint.load_state_dict(state["joint"])
        self.history.load_state_dict(state["history"])
        self._warm_up.restore(state["is_ready"])
