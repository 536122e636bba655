"""All statistical charts of all signals, advanced together one sample at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from .alarm import Alarm, Chart
from .charts import CHART_ROWS, chart_step, reset_level, reset_scale
from .codec import decode, encode
from .history import History
from .residual import (
    INIT_SAMPLES,
    MATURE_SAMPLES,
    RESIDUAL_ROWS,
    SEEN,
    Floats,
    initial_rows,
    residual_step,
)
from .thresholds import EXCURSION_LEVEL, FORGET_AFTER, OUTLIER_LEVEL, Tails, rate_per_chart

# Signals whose alarms can become alerts, and so share the false-alarm budget.
ALERTING = ("loss", "grad_norm")

_COOL_DOWN = 150  # samples after an alarm, and before the charts start, from which no tail is learned
_STATE_ROWS = RESIDUAL_ROWS + CHART_ROWS
_NEAR_ZERO_LOSS = 0.05  # below this a log scale turns ordinary noise into outliers
# Half a unit of the last digit of a log with five significant digits: nothing smaller is a change.
_RELATIVE_FLOOR = 3e-5

Transform = Literal["auto", "log", "linear"]


class SignalBank:
    """Residual, whitening and charts for every signal, vectorised over signals with numpy.

    Every signal is independent of the others: its clock counts its own finite values, so a signal that is logged
    rarely, starts late or drops out for a while is judged as if it were alone.
    """

    def __init__(self, false_alarms_per_10k: float, warmup: int, memory: int, transform: Transform = "auto") -> None:
        self.names: list[str] = []
        self.history = History()
        self.residuals = np.zeros(0)  # whitened u of the newest row, NaN where there is none
        self._rate = false_alarms_per_10k
        self._warmup = warmup
        self._memory = memory
        self._transform = transform
        self._q = rate_per_chart(false_alarms_per_10k, 1)
        self._column: dict[str, int] = {}
        self._state = np.zeros((_STATE_ROWS, 0))
        self._rows: list[Floats] = []
        self._is_log = np.zeros(0, dtype=bool)
        self._log_limit = np.zeros(0)
        self._is_ready = np.zeros(0, dtype=bool)
        self._has_excursion = np.zeros(0, dtype=bool)
        self._learned = np.zeros(0)
        self._cool = np.zeros(0)
        self._tails: list[Tails] = []
        self._predicted = np.zeros(0)
        self._sd = np.zeros(0)
        self._all_ready = False
        self._all_mature = False

    def update(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take in one sample; return the alarms it raises, in the order of the signals."""
        for name in metrics:
            if name not in self._column:
                self._admit(name)
        if not self.names:
            return []  # a run may begin with steps that have neither loss nor norm
        values = self._row(metrics)
        finite = np.isfinite(values)
        is_complete = bool(finite.all())
        alarms: list[Alarm] = []
        if not is_complete:
            for name, is_finite in zip(self.names, finite.tolist(), strict=True):
                if not is_finite and name in metrics:
                    alarms.append(Alarm(name, Chart.NONFINITE, math.inf, math.inf, metrics[name]))
            values[~finite] = math.nan
        self.history.append(step, values)
        if (values <= self._log_limit).any():
            self._leave_log_scale(values)
        if not self._all_ready:
            self._warm_up(finite)
        self.residuals.fill(math.nan)
        # A value at the end of float range may overflow on its way into a chart; infinity is over every threshold.
        with np.errstate(over="ignore"):
            if is_complete and self._all_ready:
                alarms += self._advance(slice(None), self._state, self._rows, values)
            else:
                columns = np.flatnonzero(finite & self._is_ready)
                if len(columns):
                    part = self._state[:, columns]
                    alarms += self._advance(columns, part, list(part), values)
                    self._state[:, columns] = part
        return alarms

    def _row(self, metrics: Mapping[str, float]) -> Floats:
        """The sample in the order of the columns, NaN where it has nothing to say."""
        if len(metrics) == len(self.names) and list(metrics) == self.names:
            return np.array(list(metrics.values()), dtype=np.float64)
        return np.array([metrics.get(name, math.nan) for name in self.names], dtype=np.float64)

    def band(self, name: str, width_sd: float = 3.0) -> tuple[float, float, float] | None:
        """Expected value of the newest sample and the band around it, in the signal's own unit; None in warm-up."""
        column = self._column.get(name)
        if column is None or not self._is_ready[column] or math.isnan(self._predicted[column]):
            return None
        center, reach = float(self._predicted[column]), width_sd * float(self._sd[column])
        if not self._is_log[column]:
            return center, center - reach, center + reach
        # exp overflows only for a trend far outside float range; then the band says nothing
        return _exp(center), _exp(center - reach), _exp(center + reach)

    def to_scale(self, name: str, values: Any) -> Any:
        """Values of a signal on the scale on which it is judged: log or as they are."""
        if not self.is_log(name):
            return values
        return np.log(np.maximum(values, 1e-300))

    def from_scale(self, name: str, x: float) -> float:
        return _exp(x) if self.is_log(name) else x

    def is_log(self, name: str) -> bool:
        column = self._column[name]
        if self._is_ready[column]:
            return bool(self._is_log[column])
        _, values = self.history.column(column, self.history.rows - INIT_SAMPLES)
        return self._choose_log(name, values)

    def column(self, name: str) -> int | None:
        return self._column.get(name)

    def seen(self, name: str) -> int:
        """Finite values of a signal taken into its trend so far; 0 while it is in warm-up."""
        column = self._column.get(name)
        return 0 if column is None else int(self._state[SEEN, column])

    def _advance(self, columns: Any, state: Floats, rows: list[Floats], values: Floats) -> list[Alarm]:
        """One step of the charts for ``columns``, whose state is ``state`` (rows are its row views)."""
        x = values[columns].copy() if isinstance(columns, slice) else values[columns]
        is_log = self._is_log[columns]
        np.log(x, out=x, where=is_log)
        u, predicted, sd = residual_step(rows[:RESIDUAL_ROWS], x, self._memory, is_mature=self._all_mature)
        self.residuals[columns] = u
        self._predicted[columns] = predicted
        self._sd[columns] = sd
        cusums = state[RESIDUAL_ROWS:]
        level, scale = chart_step(cusums, u)

        if self._all_mature:
            learns: Any = True
        else:
            seen = rows[SEEN]
            waits = seen <= self._warmup
            if waits.any():
                cusums[:, waits] = 0.0
                level[waits] = 0.0
                scale[waits] = 0.0
            learns = seen > self._warmup - _COOL_DOWN
            if not learns.any():
                self._check_maturity()
                return []
            self._check_maturity()

        cool = self._cool[columns]
        quiet = (cool <= 0) & learns
        self._learned[columns] += quiet
        self._cool[columns] = np.maximum(cool - 1, 0)

        notable = u > OUTLIER_LEVEL
        notable |= level > EXCURSION_LEVEL
        notable |= scale > EXCURSION_LEVEL
        notable |= self._has_excursion[columns]
        if learns is not True:
            notable &= learns
        if not notable.any():
            return []
        return self._judge(columns, np.flatnonzero(notable), values, u, level, scale, quiet, cusums, rows[SEEN])

    def _judge(
        self,
        columns: Any,
        notable: np.ndarray,
        values: Floats,
        u: Floats,
        level: Floats,
        scale: Floats,
        quiet: np.ndarray,
        cusums: Floats,
        seen: Floats,
    ) -> list[Alarm]:
        """Thresholds, tail learning and alarms for the few signals that stand out at this sample."""
        q = self._q
        alarms = []
        places = notable.tolist()
        # One conversion of all instead of one per signal: a numpy scalar costs more than the judgement.
        taken = (u, level, scale, quiet, seen, self._learned[columns])
        entries = zip(places, *(array[notable].tolist() for array in taken), strict=True)
        for place, u_, level_, scale_, is_quiet, seen_, learned in entries:
            column = place if isinstance(columns, slice) else int(columns[place])
            tails = self._tails[column]
            tails.samples = learned
            fired = tails.exceeded(u_, level_, scale_, q) if seen_ > self._warmup else []
            tails.learn(u_, level_, scale_, q, is_quiet=is_quiet)
            if fired:
                name, expected = self.names[column], self.band(self.names[column])
                center = expected[0] if expected else None
                alarms += [Alarm(name, *entry, float(values[column]), center) for entry in fired]
                self._cool[column] = _COOL_DOWN
                charts = {entry[0] for entry in fired}
                if Chart.LEVEL in charts:
                    reset_level(cusums, place)
                    tails.level_peak = 0.0
                if Chart.SCALE in charts:
                    reset_scale(cusums, place)
                    tails.scale_peak = 0.0
            if tails.samples > FORGET_AFTER:
                tails.forget()
                self._learned[column] = tails.samples
            self._has_excursion[column] = bool(tails.level_peak or tails.scale_peak)
        return alarms

    def _admit(self, name: str) -> None:
        self._column[name] = len(self.names)
        self.names.append(name)
        self._q = rate_per_chart(self._rate, sum(name in self._column for name in ALERTING))
        self.history.add_column()
        self._state = np.concatenate([self._state, np.zeros((_STATE_ROWS, 1))], axis=1)
        self._rows = list(self._state)
        self._is_log = np.append(self._is_log, False)
        self._log_limit = np.append(self._log_limit, -math.inf)
        self._is_ready = np.append(self._is_ready, False)
        self._has_excursion = np.append(self._has_excursion, False)
        self._learned = np.append(self._learned, 0.0)
        self._cool = np.append(self._cool, 0.0)
        self._predicted = np.append(self._predicted, math.nan)
        self._sd = np.append(self._sd, math.nan)
        self.residuals = np.append(self.residuals, math.nan)
        self._tails.append(Tails())
        self._all_ready = self._all_mature = False

    def _warm_up(self, finite: np.ndarray) -> None:
        """Initialise every signal that now has enough values; until then it only collects."""
        for column in np.flatnonzero(finite & ~self._is_ready).tolist():
            # Until it is initialised, the counter of a signal counts the values collected.
            self._state[SEEN, column] += 1
            if self._state[SEEN, column] > INIT_SAMPLES:
                self._initialise(column)
        self._all_ready = bool(self._is_ready.all())

    def _initialise(self, column: int) -> None:
        # The newest value is not part of it: it is the first to be judged.
        _, values = self.history.column(column, 0)
        if len(values) <= INIT_SAMPLES:
            return  # logged so rarely that the window never holds enough of it: charts would mean nothing
        values = values[-INIT_SAMPLES - 1 : -1]
        self._set_scale(column, values, is_log=self._choose_log(self.names[column], values))
        self._is_ready[column] = True

    def _set_scale(self, column: int, values: Floats, *, is_log: bool) -> None:
        x = np.log(values) if is_log else values
        floor = _RELATIVE_FLOOR if is_log else _RELATIVE_FLOOR * float(np.median(np.abs(values))) + 1e-12
        seen = self._state[SEEN, column]
        self._state[:RESIDUAL_ROWS, column] = initial_rows(x, floor)
        self._state[RESIDUAL_ROWS:, column] = 0.0
        self._state[SEEN, column] = max(seen - 1, INIT_SAMPLES)
        self._is_log[column] = is_log
        self._log_limit[column] = self._limit_of(self.names[column]) if is_log else -math.inf

    def _leave_log_scale(self, values: Floats) -> None:
        """Judge a signal that comes near zero on a linear scale from here on; its tails are learned anew."""
        for column in np.flatnonzero(values <= self._log_limit).tolist():
            _, recent = self.history.column(column, 0)
            seen = self._state[SEEN, column]
            self._set_scale(column, recent[-INIT_SAMPLES - 1 : -1], is_log=False)
            self._state[SEEN, column] = seen
            self._tails[column] = Tails()
            self._learned[column] = 0.0
            self._has_excursion[column] = False

    def _choose_log(self, name: str, values: Floats) -> bool:
        if self._transform != "auto":
            return self._transform == "log" and bool((values > 0).all())
        return bool((values > self._limit_of(name)).all())

    def _limit_of(self, name: str) -> float:
        if self._transform == "log":
            return 0.0
        return _NEAR_ZERO_LOSS if name == "loss" or name.endswith("/loss") else 0.0

    def _check_maturity(self) -> None:
        settled = max(MATURE_SAMPLES, 2 * self._memory, self._warmup + 1)
        self._all_mature = self._all_ready and bool((self._state[SEEN] >= settled).all())

    def state_dict(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "state": encode(self._state),
            "is_log": self._is_log.tolist(),
            "is_ready": self._is_ready.tolist(),
            "learned": encode(self._learned),
            "cool": encode(self._cool),
            "tails": [asdict(tails) for tails in self._tails],
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in state["names"]:
            self._admit(name)
        self._state = decode(state["state"])
        self._rows = list(self._state)
        self._is_log = np.array(state["is_log"], dtype=bool)
        self._is_ready = np.array(state["is_ready"], dtype=bool)
        limits = [self._limit_of(name) for name in self.names]
        self._log_limit = np.where(self._is_log, limits, -math.inf)
        self._learned = decode(state["learned"])
        self._cool = decode(state["cool"])
        self._tails = [Tails(**tails) for tails in state["tails"]]
        self._has_excursion = np.array([bool(t.level_peak or t.scale_peak) for t in self._tails], dtype=bool)
        self.history.load_state_dict(state["history"])
        self._all_ready = bool(self._is_ready.all())
        self._check_maturity()


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
