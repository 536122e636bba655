"""All statistical charts of all signals, advanced together one sample at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from .alarm import Alarm, Chart
from .charts import CHART_ROWS, LEVEL_SHIFTS, SCALE_RATIOS, chart_step
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
    settle_noise,
)
from .scalar import FEW_SIGNALS, chart_step_one, residual_step_one
from .thresholds import EXCURSION_LEVEL, FORGET_AFTER, OUTLIER_LEVEL, Tails, rate_per_chart

# Signals whose alarms can become alerts, and so share the false-alarm budget.
ALERTING = ("loss", "grad_norm")

_COOL_DOWN = 150  # samples after an alarm, and before the charts start, from which no tail is learned
_STATE_ROWS = RESIDUAL_ROWS + CHART_ROWS
_LEVEL_ROWS = slice(RESIDUAL_ROWS, RESIDUAL_ROWS + len(LEVEL_SHIFTS))
_SCALE_ROWS = slice(_LEVEL_ROWS.stop, _STATE_ROWS)
_SETTLE_SAMPLES = 96
_NEAR_ZERO_LOSS = 0.05  # below this a log scale turns ordinary noise into outliers
# Half a unit of the last digit of a log with five significant digits: nothing smaller is a change.
_RELATIVE_FLOOR = 3e-5

Transform = Literal["auto", "log", "linear"]


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
        self._rate = false_alarms_per_10k
        self._warmup = warmup
        self._memory = memory
        self._mature_at = max(MATURE_SAMPLES, 2 * memory, warmup + 1)
        self._transform = transform
        self._q = rate_per_chart(false_alarms_per_10k, 1)
        self._column: dict[str, int] = {}
        self._few = few
        # One column a signal; for few signals the lists are the truth and the array only their image.
        self._state = np.zeros((_STATE_ROWS, 0))
        self._lists: list[list[float]] | None = []
        self._rows: list[Floats] = []
        self._is_log = np.zeros(0, dtype=bool)
        self._log_limit = np.zeros(0)
        self._limits: list[float] = []
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
        row = [metrics.get(name, math.nan) for name in self.names]
        alarms: list[Alarm] = []
        is_complete = all(map(math.isfinite, row))
        if not is_complete:
            for column, name in enumerate(self.names):
                if not math.isfinite(row[column]):
                    row[column] = math.nan
                    if name in metrics:
                        alarms.append(Alarm(name, Chart.NONFINITE, math.inf, math.inf, metrics[name]))
        self.history.append(step, row)
        if not self._all_ready:
            with self._as_arrays():
                self._warm_up(row)
        # After the warm-up: the very value with which a log scale begins may be outside of it.
        if self._comes_near_zero(row):
            with self._as_arrays():
                self._leave_log_scale(row)
        if not self._all_mature:
            self._settle()
        # A value at the end of float range may overflow on its way into a chart; infinity is over every threshold.
        if self._lists is not None:
            alarms += self._advance_each(row)
        else:
            with np.errstate(over="ignore"):
                alarms += self._advance_together(np.array(row), is_complete)
        return alarms

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

    def _comes_near_zero(self, row: list[float]) -> bool:
        """Whether a signal that is judged on a log scale has left its range."""
        if self._lists is None:
            return bool((np.array(row) <= self._log_limit).any())
        return any(value <= limit for value, limit in zip(row, self._limits, strict=True))

    @contextmanager
    def _as_arrays(self) -> Iterator[None]:
        """Inside, the state is one array whatever the number of signals; what follows from it is renewed after."""
        if self._lists:
            self._state[:] = np.array(self._lists).T
        yield
        self._lists = self._state.T.tolist() if len(self.names) <= self._few else None
        self._rows = list(self._state)
        self._limits = self._log_limit.tolist()

    def _advance_each(self, row: list[float]) -> list[Alarm]:
        """One step of the charts for few signals, one after the other."""
        assert self._lists is not None
        alarms: list[Alarm] = []
        for column, value in enumerate(row):
            if value != value or not self._is_ready[column]:
                continue
            state = self._lists[column]
            x = math.log(value) if self._is_log[column] else value
            u, self._predicted[column], self._sd[column] = residual_step_one(state, x, self._memory)
            level, scale = chart_step_one(state, u)
            seen = state[SEEN]
            if seen <= self._warmup:
                state[RESIDUAL_ROWS:] = [0.0] * CHART_ROWS
                level = scale = 0.0
                if seen <= self._warmup - _COOL_DOWN:
                    continue
            elif seen == self._mature_at:
                self._check_maturity()
            is_quiet = bool(self._cool[column] <= 0)
            if is_quiet:
                self._learned[column] += 1
            else:
                self._cool[column] -= 1
            is_notable = u > OUTLIER_LEVEL or level > EXCURSION_LEVEL or scale > EXCURSION_LEVEL
            if is_notable or self._has_excursion[column]:
                learned = float(self._learned[column])
                fired = self._judge(column, value, (u, level, scale), is_quiet, seen > self._warmup, learned)
                for alarm in fired:
                    if alarm.chart is Chart.LEVEL:
                        state[_LEVEL_ROWS] = [0.0] * len(LEVEL_SHIFTS)
                    elif alarm.chart is Chart.SCALE:
                        state[_SCALE_ROWS] = [0.0] * len(SCALE_RATIOS)
                alarms += fired
        return alarms

    def _advance_together(self, values: Floats, is_complete: bool) -> list[Alarm]:
        """One step of the charts for many signals, all at once."""
        if is_complete and self._all_ready:
            return self._advance(slice(None), self._state, self._rows, values)
        columns = np.flatnonzero(np.isfinite(values) & self._is_ready)
        if not len(columns):
            return []
        part = self._state[:, columns]
        alarms = self._advance(columns, part, list(part), values)
        self._state[:, columns] = part
        return alarms

    def _advance(self, columns: Any, state: Floats, rows: list[Floats], values: Floats) -> list[Alarm]:
        """One step of the charts for ``columns``, whose state is ``state`` (rows are its row views)."""
        x = values[columns].copy() if isinstance(columns, slice) else values[columns]
        is_log = self._is_log[columns]
        np.log(x, out=x, where=is_log)
        u, predicted, sd = residual_step(rows[:RESIDUAL_ROWS], x, self._memory, is_mature=self._all_mature)
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
        alarms: list[Alarm] = []
        places = np.flatnonzero(notable)
        # One conversion of all instead of one per signal: a numpy scalar costs more than the judgement.
        taken = (u, level, scale, quiet, rows[SEEN] > self._warmup, self._learned[columns])
        entries = zip(places.tolist(), *(array[places].tolist() for array in taken), strict=True)
        for place, u_, level_, scale_, is_quiet, may_alarm, learned in entries:
            column = place if isinstance(columns, slice) else int(columns[place])
            fired = self._judge(column, float(values[column]), (u_, level_, scale_), is_quiet, may_alarm, learned)
            for alarm in fired:
                if alarm.chart is Chart.LEVEL:
                    state[_LEVEL_ROWS, place] = 0.0
                elif alarm.chart is Chart.SCALE:
                    state[_SCALE_ROWS, place] = 0.0
            alarms += fired
        return alarms

    def _judge(
        self,
        column: int,
        value: float,
        scores: tuple[float, float, float],
        is_quiet: bool,
        may_alarm: bool,
        learned: float,
    ) -> list[Alarm]:
        """Tail learning and alarms of a signal that stands out at this sample; the caller resets its charts."""
        tails = self._tails[column]
        tails.samples = learned
        fired = tails.exceeded(*scores, self._q) if may_alarm else []
        tails.learn(*scores, self._q, is_quiet=is_quiet)
        alarms = []
        if fired:
            expected = self.band(self.names[column])
            center = expected[0] if expected else None
            alarms = [Alarm(self.names[column], *entry, value, center) for entry in fired]
            self._cool[column] = _COOL_DOWN
            charts = {alarm.chart for alarm in alarms}
            if Chart.LEVEL in charts:
                tails.level_peak = 0.0
            if Chart.SCALE in charts:
                tails.scale_peak = 0.0
        if tails.samples > FORGET_AFTER:
            tails.forget()
            self._learned[column] = tails.samples
        self._has_excursion[column] = bool(tails.level_peak or tails.scale_peak)
        return alarms

    def _admit(self, name: str) -> None:
        with self._as_arrays():
            self._add_column(name)

    def _add_column(self, name: str) -> None:
        self._column[name] = len(self.names)
        self.names.append(name)
        self._q = rate_per_chart(self._rate, sum(name in self._column for name in ALERTING))
        self.history.add_column()
        self._state = np.concatenate([self._state, np.zeros((_STATE_ROWS, 1))], axis=1)
        self._is_log = np.append(self._is_log, False)
        self._log_limit = np.append(self._log_limit, -math.inf)
        self._is_ready = np.append(self._is_ready, False)
        self._has_excursion = np.append(self._has_excursion, False)
        self._learned = np.append(self._learned, 0.0)
        self._cool = np.append(self._cool, 0.0)
        self._predicted = np.append(self._predicted, math.nan)
        self._sd = np.append(self._sd, math.nan)
        self._tails.append(Tails())
        self._all_ready = self._all_mature = False

    def _warm_up(self, row: list[float]) -> None:
        """Initialise every signal that now has enough values; until then it only collects."""
        for column in np.flatnonzero(np.isfinite(row) & ~self._is_ready).tolist():
            # Until it is initialised, the counter of a signal counts the values collected.
            self._state[SEEN, column] += 1
            if self._state[SEEN, column] > INIT_SAMPLES:
                self._initialise(column)
        self._all_ready = bool(self._is_ready.all())

    def _settle(self) -> None:
        """Measure the noise of signals whose charts begin with this sample."""
        seen = self._state[SEEN].tolist() if self._lists is None else [state[SEEN] for state in self._lists]
        due = [column for column, count in enumerate(seen) if count == self._warmup and self._is_ready[column]]
        if not due:
            return
        with self._as_arrays():
            for column in due:
                _, values = self.history.column(column, 0)
                recent = values[-_SETTLE_SAMPLES:]
                if len(recent) == _SETTLE_SAMPLES:
                    x = np.log(recent) if self._is_log[column] else recent
                    settle_noise(self._state[:RESIDUAL_ROWS, column], x)

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

    def _leave_log_scale(self, row: list[float]) -> None:
        """Judge a signal that comes near zero on a linear scale from here on; its tails are learned anew."""
        for column in np.flatnonzero(np.array(row) <= self._log_limit).tolist():
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
        seen = self._state[SEEN] if self._lists is None else np.array([state[SEEN] for state in self._lists])
        self._all_mature = self._all_ready and bool((seen >= self._mature_at).all())

    def state_dict(self) -> dict[str, Any]:
        with self._as_arrays():
            pass
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
        self._is_log = np.array(state["is_log"], dtype=bool)
        self._is_ready = np.array(state["is_ready"], dtype=bool)
        limits = [self._limit_of(name) for name in self.names]
        self._log_limit = np.where(self._is_log, limits, -math.inf)
        with self._as_arrays():
            self._state[:] = decode(state["state"])
        self._learned = decode(state["learned"])
        self._cool = decode(state["cool"])
        self._tails = [Tails(**tails) for tails in state["tails"]]
        self._has_excursion = np.array([bool(t.level_peak or t.scale_peak) for t in self._tails], dtype=bool)
        self.history.load_state_dict(state["history"])
        self._all_ready = bool(self._is_ready.all())
        self._check_maturity()


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
