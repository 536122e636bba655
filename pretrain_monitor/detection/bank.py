"""All statistical charts of all signals, advanced together one sample at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableSequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .alarm import Alarm, Chart
from .charts import CHART_ROWS, LEVEL_SHIFTS, SCALE_RATIOS, chart_step
from .codec import decode, encode
from .history import COARSE_STEPS, History
from .joint import JointRule
from .judge import COOL_DOWN, Judge
from .reading import Reading
from .residual import (
    AUTO_DEN,
    AUTO_NUM,
    FLOOR,
    INIT_SAMPLES,
    LAST,
    LEVEL,
    MATURE_SAMPLES,
    MAX_AUTO,
    PREDICTED,
    RESIDUAL_ROWS,
    SD,
    SEEN,
    SLOPE,
    VARIANCE,
    WHITE,
    Floats,
    initial_rows,
    local_spread,
    residual_step,
    settle_noise,
)
from .scalar import FEW_SIGNALS, chart_step_one, residual_step_one
from .scales import Scales, Transform, from_scale, to_scale
from .thresholds import OUTLIER_LEVEL

_STATE_ROWS = RESIDUAL_ROWS + CHART_ROWS
_LEVEL_ROWS = slice(RESIDUAL_ROWS, RESIDUAL_ROWS + len(LEVEL_SHIFTS))
_SCALE_ROWS = slice(_LEVEL_ROWS.stop, _STATE_ROWS)
_NOISE_ROWS = (VARIANCE, AUTO_NUM, AUTO_DEN, SLOPE)
_SETTLE_SAMPLES = 96
_NOISE_SAMPLES = 48
# Where a sample stands for many steps, one far off trend is told from here on: the run is not young any more.
_COARSE_FROM = 52
# Half a unit of the last digit of a log with five significant digits: nothing smaller is a change.
_RELATIVE_FLOOR = 3e-5


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
        self._warmup = warmup
        self._memory = memory
        self._mature_at = max(MATURE_SAMPLES, 2 * memory, warmup + 1)
        self._scales = Scales(transform)
        self._judge = Judge(false_alarms_per_10k)
        self._joint = JointRule(false_alarms_per_10k)
        self._column: dict[str, int] = {}
        self._few = few
        # One column a signal; for few signals the lists are the truth and the array only their image.
        self._state = np.zeros((_STATE_ROWS, 0))
        self._lists: list[list[float]] | None = []
        self._rows: list[Floats] = []
        self._is_ready = np.zeros(0, dtype=bool)
        self._waiting: list[int] = []  # columns that are not ready
        self._all_mature = False
        self._outlier_from = warmup

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
        if not self._all_mature:
            is_coarse = self.history.steps_per_row() >= COARSE_STEPS
            self._outlier_from = min(_COARSE_FROM, self._warmup) if is_coarse else self._warmup
        if self._waiting:
            self._warm_up(row)
        values = row if self._lists is not None else np.array(row)
        # After the warm-up: the very value with which a log scale begins may be outside of it.
        if left := self._scales.outside(values):
            self._leave_log_scale(left)
        if not self._all_mature:
            self._settle()
        if self._lists is not None:
            return alarms + self._advance_each(row, self._lists)
        return alarms + self._advance_together(np.asarray(values), is_complete)

    def band(self, name: str, width_sd: float = 3.0) -> tuple[float, float, float] | None:
        """Expected value of the newest sample and the band around it, in the signal's own unit; None in warm-up."""
        if (charted := self._charted(name)) is None:
            return None
        column, state = charted
        center, reach = float(state[PREDICTED]), width_sd * float(state[SD])
        if math.isnan(center):
            return None
        is_log = bool(self._scales.is_log[column])
        lower, upper = from_scale(center - reach, is_log=is_log), from_scale(center + reach, is_log=is_log)
        return from_scale(center, is_log=is_log), lower, upper

    def reading(self, name: str) -> Reading | None:
        """The charts of a signal at the newest sample; None where it has no finite value there, and in warm-up."""
        band = self.band(name)
        if band is None or (charted := self._charted(name)) is None:
            return None
        column, state = charted
        value = self.history.newest(column)
        if value != value:
            return None
        outlier, level, scale = self._judge.thresholds(column)
        return Reading(
            value=value,
            expected=band[0],
            lower=band[1],
            upper=band[2],
            residual=float(state[WHITE]),
            outlier_threshold=outlier,
            level=float(max(state[_LEVEL_ROWS])),
            level_threshold=level,
            scale=float(max(state[_SCALE_ROWS])),
            scale_threshold=scale,
            is_judged=bool(state[SEEN] > self._warmup),
        )

    def judged(self, name: str) -> tuple[float, float, bool] | None:
        """Newest value of a signal on its own scale, its long-run noise, and whether that scale is the log.

        The noise is what a mean of many samples spreads by, times the root of their number. None before the signal is
        charted, and where it was not part of the newest sample.
        """
        if (charted := self._charted(name)) is None:
            return None
        column, state = charted
        value = self.history.newest(column)
        if value != value:
            return None
        phi = self.autocorrelation(name)
        is_log = bool(self._scales.is_log[column])
        noise = float(state[VARIANCE]) ** 0.5 * ((1 + phi) / (1 - phi)) ** 0.5
        return (math.log(value) if is_log else value), noise, is_log

    def noise_state(self, name: str) -> list[float] | None:
        """What is known of a signal's noise and slope by now, to be put back after an event; None in warm-up."""
        if (charted := self._charted(name)) is None:
            return None
        _, state = charted
        # Before the charts begin little is known, and nothing worth keeping.
        return [float(state[row]) for row in _NOISE_ROWS] if state[SEEN] > self._warmup else None

    def put_back(self, name: str, noise: list[float], rows: int) -> None:
        """Go on from where a signal is now, judged by its last ``rows`` samples, with the noise it had before an event.

        Some tens of samples far off trend teach so large a noise that the charts would be deaf for hundreds more.
        """
        column = self._column[name]
        _, values = self.history.column(column, self.history.rows - rows)
        if not self._is_ready[column] or not len(values):
            return
        with self._as_arrays():
            state = self._state[:, column]
            is_log = bool(self._scales.is_log[column])
            learned = state[VARIANCE]
            state[list(_NOISE_ROWS)] = noise
            # A run that has become noisier meanwhile must not be held to the noise it had.
            _, recent = self.history.column(column, self.history.rows - _NOISE_SAMPLES)
            now = local_spread(to_scale(recent, is_log=is_log)) ** 2
            state[VARIANCE] = max(noise[0], min(now, learned), state[FLOOR])
            state[LEVEL] = float(np.median(to_scale(values, is_log=is_log)))
            state[LAST] = 0.0
            state[RESIDUAL_ROWS:] = 0.0

    def autocorrelation(self, name: str) -> float:
        """Autocorrelation of a signal's noise from one sample to the next, as far as the whitening knows it."""
        if (charted := self._charted(name)) is None:
            return 0.0
        _, state = charted
        return min(max(float(state[AUTO_NUM] / state[AUTO_DEN]), 0.0), MAX_AUTO)

    def to_scale(self, name: str, values: Any) -> Any:
        """Values of a signal on the scale on which it is judged: log or as they are."""
        return to_scale(values, is_log=self.is_log(name))

    def from_scale(self, name: str, x: float) -> float:
        return from_scale(x, is_log=self.is_log(name))

    def is_log(self, name: str) -> bool:
        column = self._column[name]
        if self._is_ready[column]:
            return bool(self._scales.is_log[column])
        _, values = self.history.column(column, self.history.rows - INIT_SAMPLES)
        return self._scales.fits_log(name, values)

    def column(self, name: str) -> int | None:
        return self._column.get(name)

    def _charted(self, name: str) -> tuple[int, MutableSequence[float] | Floats] | None:
        """Column and state of a signal; None before it is charted."""
        column = self._column.get(name)
        return None if column is None or not self._is_ready[column] else (column, self._state_of(column))

    def _state_of(self, column: int) -> MutableSequence[float] | Floats:
        return self._state[:, column] if self._lists is None else self._lists[column]

    @contextmanager
    def _as_arrays(self) -> Iterator[None]:
        """Inside, the state is one array whatever the number of signals; what follows from it is renewed after."""
        if self._lists:
            self._state[:] = np.array(self._lists).T
        yield
        self._lists = self._state.T.tolist() if len(self.names) <= self._few else None
        self._rows = list(self._state)
        self._waiting = np.flatnonzero(~self._is_ready).tolist()

    def _advance_each(self, row: list[float], states: list[list[float]]) -> list[Alarm]:
        """One step of the charts for few signals, one after the other."""
        alarms: list[Alarm] = []
        for column, value in enumerate(row):
            if value != value or not self._is_ready[column]:
                continue
            state = states[column]
            x = math.log(value) if self._scales.is_log[column] else value
            u = residual_step_one(state, x, self._memory)
            level, scale = chart_step_one(state, u)
            seen = state[SEEN]
            if seen <= self._warmup:
                state[RESIDUAL_ROWS:] = [0.0] * CHART_ROWS
                level = scale = 0.0
                if seen <= min(self._warmup - COOL_DOWN, self._outlier_from):
                    continue
            elif seen == self._mature_at:
                self._check_maturity()
            is_quiet = self._judge.pass_one(column, learns=seen > self._warmup - COOL_DOWN)
            if self._judge.is_notable(column, u, level, scale):
                may_alarm = seen > self._warmup
                fired = self._judge.judge(
                    column, u, level, scale, is_quiet=is_quiet, may_alarm=may_alarm or seen > self._outlier_from
                )
                alarms += self._jointly(column, u, value, seen)
                if fired:
                    alarms += self._alarms(column, value, state, fired)
        return alarms

    def _jointly(self, column: int, u: float, value: float, seen: float) -> list[Alarm]:
        """What a value that stands out says together with the other signal of its pair."""
        if u <= OUTLIER_LEVEL or seen <= self._outlier_from:
            return []
        probability = self._judge.outlier_probability(column, u)
        return self._joint.update(self.history.rows - 1, self.names[column], u, probability, value)

    def _advance_together(self, values: Floats, is_complete: bool) -> list[Alarm]:
        """One step of the charts for many signals, all at once."""
        if is_complete and not self._waiting:
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
        np.log(x, out=x, where=self._scales.is_log[columns])
        u = residual_step(rows[:RESIDUAL_ROWS], x, self._memory, is_mature=self._all_mature)
        cusums = state[RESIDUAL_ROWS:]
        level, scale = chart_step(cusums, u)

        learns: Any = True
        if not self._all_mature:
            seen = rows[SEEN]
            waits = seen <= self._warmup
            if waits.any():
                cusums[:, waits] = 0.0
                level[waits] = 0.0
                scale[waits] = 0.0
            learns = seen > self._warmup - COOL_DOWN
            self._check_maturity()
            if not (learns | (seen > self._outlier_from)).any():
                return []
        quiet = self._judge.pass_together(columns, learns)
        notable = self._judge.notable(columns, u, level, scale) & (learns | (rows[SEEN] > self._outlier_from))
        if not notable.any():
            return []
        alarms: list[Alarm] = []
        places = np.flatnonzero(notable)
        # One conversion of all instead of one per signal: a numpy scalar costs more than the judgement.
        taken = (u, level, scale, quiet, rows[SEEN] > self._outlier_from)
        entries = zip(places.tolist(), *(array[places].tolist() for array in taken), strict=True)
        for place, u_, level_, scale_, is_quiet, may_alarm in entries:
            column = place if isinstance(columns, slice) else int(columns[place])
            fired = self._judge.judge(column, u_, level_, scale_, is_quiet=is_quiet, may_alarm=may_alarm)
            alarms += self._jointly(column, u_, float(values[column]), float(rows[SEEN][place]))
            if fired:
                alarms += self._alarms(column, float(values[column]), state[:, place], fired)
        return alarms

    def _alarms(
        self,
        column: int,
        value: float,
        state: MutableSequence[float] | Floats,
        fired: list[tuple[Chart, float, float]],
    ) -> list[Alarm]:
        """Charts that fired, as alarms of the signal; a CUSUM that fired starts again from zero."""
        expected = from_scale(float(state[PREDICTED]), is_log=bool(self._scales.is_log[column]))
        for chart, _, _ in fired:
            if chart is Chart.LEVEL:
                state[_LEVEL_ROWS] = [0.0] * len(LEVEL_SHIFTS)
            elif chart is Chart.SCALE:
                state[_SCALE_ROWS] = [0.0] * len(SCALE_RATIOS)
        return [Alarm(self.names[column], *entry, value, expected) for entry in fired]

    def _admit(self, name: str) -> None:
        with self._as_arrays():
            self._column[name] = len(self.names)
            self.names.append(name)
            self.history.add_column()
            self._scales.add()
            self._judge.add(name)
            self._state = np.concatenate([self._state, np.zeros((_STATE_ROWS, 1))], axis=1)
            self._is_ready = np.append(self._is_ready, False)
        self._all_mature = False

    def _warm_up(self, row: list[float]) -> None:
        """Initialise every signal that now has enough values; until then it only collects."""
        due = []
        for column in self._waiting:
            if row[column] != row[column]:
                continue
            # Until it is initialised, the counter of a signal counts the values collected.
            state = self._state_of(column)
            state[SEEN] += 1
            if state[SEEN] > INIT_SAMPLES:
                due.append(column)
        if due:
            with self._as_arrays():
                for column in due:
                    self._initialise(column)

    def _settle(self) -> None:
        """Measure the noise of signals whose charts begin with this sample."""
        due = [column for column, seen in enumerate(self._seen()) if seen == self._warmup and self._is_ready[column]]
        if not due:
            return
        with self._as_arrays():
            for column in due:
                _, values = self.history.column(column, 0)
                recent = values[-_SETTLE_SAMPLES:]
                if len(recent) == _SETTLE_SAMPLES:
                    x = to_scale(recent, is_log=bool(self._scales.is_log[column]))
                    settle_noise(self._state[:RESIDUAL_ROWS, column], x)

    def _initialise(self, column: int) -> None:
        # The newest value is not part of it: it is the first to be judged.
        _, values = self.history.column(column, 0)
        if len(values) <= INIT_SAMPLES:
            return  # logged so rarely that the window never holds enough of it: charts would mean nothing
        values = values[-INIT_SAMPLES - 1 : -1]
        self._begin_on(column, values, is_log=self._scales.fits_log(self.names[column], values))
        self._is_ready[column] = True

    def _begin_on(self, column: int, values: Floats, *, is_log: bool) -> None:
        """Start a signal's residual from ``values`` on the log or the linear scale."""
        x = np.log(values) if is_log else values
        floor = _RELATIVE_FLOOR if is_log else _RELATIVE_FLOOR * float(np.median(np.abs(values))) + 1e-12
        seen = self._state[SEEN, column]
        self._state[:RESIDUAL_ROWS, column] = initial_rows(x, floor)
        self._state[RESIDUAL_ROWS:, column] = 0.0
        self._state[SEEN, column] = max(seen - 1, INIT_SAMPLES)
        self._scales.set(column, self.names[column], is_log=is_log)

    def _leave_log_scale(self, columns: list[int]) -> None:
        """Judge signals that come near zero on a linear scale from here on; their tails are learned anew."""
        with self._as_arrays():
            for column in columns:
                _, recent = self.history.column(column, 0)
                seen = self._state[SEEN, column]
                self._begin_on(column, recent[-INIT_SAMPLES - 1 : -1], is_log=False)
                self._state[SEEN, column] = seen
                self._judge.forget(column)

    def _check_maturity(self) -> None:
        self._all_mature = not self._waiting and min(self._seen()) >= self._mature_at

    def _seen(self) -> list[float]:
        """Samples each signal has seen."""
        if self._lists is not None:
            return [state[SEEN] for state in self._lists]
        seen: list[float] = self._state[SEEN].tolist()
        return seen

    def state_dict(self) -> dict[str, Any]:
        with self._as_arrays():
            pass
        return {
            "names": self.names,
            "state": encode(self._state),
            "is_log": self._scales.is_log.tolist(),
            "is_ready": self._is_ready.tolist(),
            "judge": self._judge.state_dict(),
            "joint": self._joint.state_dict(),
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in state["names"]:
            self._admit(name)
        self._scales.restore(self.names, state["is_log"])
        self._is_ready = np.array(state["is_ready"], dtype=bool)
        self._judge.load_state_dict(state["judge"])
        self._joint.load_state_dict(state["joint"])
        self.history.load_state_dict(state["history"])
        self._state[:] = decode(state["state"])
        self._lists = []  # not the truth any more
        with self._as_arrays():
            pass
        if self.names:
            self._check_maturity()
