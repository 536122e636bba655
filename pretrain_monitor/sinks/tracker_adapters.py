"""Experiment trackers that the program may use already: how each is found and written to.

Nothing is imported that the program has not imported, and no run is started: without a run an adapter does nothing.
"""

from __future__ import annotations

import math
import re
import sys
import time as clock
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from ..printable import shorten
from ..telemetry import Severity

PREFIX = "pretrain_monitor/"
STEP = f"{PREFIX}step"
_LAST_ALERT = f"{PREFIX}last_alert"
_MAX_TITLE = 63  # of wandb
_MAX_TAG = 4_000  # characters; mlflow refuses, or cuts off, what is longer than some thousand
_MAX_KEY = 200
_MAX_WAITING = 1_000


class Tracker(Protocol):
    """One tracker. ``attend`` is called in the thread of the training, the others in another one."""

    name: str

    def attend(self) -> None:
        """Find the run, if there is one by now, and do what only this thread may do; called at each step."""

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Write values that belong to one step of the training; all finite."""

    def alert(self, key: str, severity: Severity, title: str, text: str) -> None:
        """Tell people.

        Args:
            key: the same for all that is told about one incident.
        """


class WandbTracker:
    """Weights & Biases, where ``wandb.run`` is active.

    Args:
        names: of all values that may come.
    """

    name = "wandb"

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._run: Any = None

    def attend(self) -> None:
        run = _active(self.name, "run")
        if run is None or run is self._run:
            return
        # Each by its name: a pattern would compete with those of others, as the "*" of transformers.
        run.define_metric(STEP, hidden=True)
        for name in self._names:
            run.define_metric(name, step_metric=STEP)
        self._run = run

    def values(self, step: int, values: Mapping[str, float]) -> None:
        # Into the row that the program fills: a row of our own would raise wandb's step, and wandb drops what the
        # program then logs with an explicit step below it.
        self._call("log", {**values, STEP: step}, commit=False)

    def alert(self, key: str, severity: Severity, title: str, text: str) -> None:
        # wandb reads a wait of 0 as its default of a minute.
        self._call("alert", shorten(title, _MAX_TITLE), text, level=_LEVELS[severity].upper(), wait_duration=0.001)
        if self._is_active():
            self._run.summary[_LAST_ALERT] = title

    def _call(self, method: str, *args: Any, **settings: Any) -> None:
        try:
            if self._is_active():
                getattr(self._run, method)(*args, **settings)
        except Exception:
            if self._is_active():
                raise
            # The program has finished its run in between.

    def _is_active(self) -> bool:
        return self._run is not None and _active(self.name, "run") is self._run


class TrackioTracker:
    """Trackio, whose current run is known only in the thread that started it."""

    name = "trackio"

    def __init__(self) -> None:
        self._run: Any = None

    def attend(self) -> None:
        variables = _active(self.name, "context_vars")
        run = None if variables is None else variables.current_run.get()
        if run is not None:
            self._run = run

    def values(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is not None:
            # At the newest step of the program: one of our own would be skipped when trackio counts its next log.
            following = getattr(self._run, "_next_step", None)
            newest = max(following - 1, 0) if isinstance(following, int) else None
            self._run.log({**values, STEP: step}, step=newest)

    def alert(self, key: str, severity: Severity, title: str, text: str) -> None:
        if self._run is not None:
            level = _active(self.name, "AlertLevel")(_LEVELS[severity])
            self._run.alert(title=title, text=text, level=level)


class MlflowTracker:
    """MLflow, whose active run is known only in the thread that started it; it is then written to by its id.

    Args:
        logger: Lightning's ``MLFlowLogger``, which has a run of its own that is never the active one.
    """

    name = "mlflow"

    def __init__(self, logger: Any = None) -> None:
        self._logger = logger
        self._client: Any = None
        self._run_id: str | None = None

    def attend(self) -> None:
        if self._run_id is not None:
            return
        if self._logger is not None:
            self._client, self._run_id = self._logger.experiment, self._logger.run_id
            return
        active_run = _active(self.name, "active_run")
        run = None if active_run is None else active_run()
        if run is not None:
            # Now: the program may set another tracking URI later.
            self._client, self._run_id = sys.modules[self.name].MlflowClient(), run.info.run_id

    def values(self, step: int, values: Mapping[str, float]) -> None:
        if self._run_id is not None:
            metric, now = sys.modules["mlflow.entities"].Metric, int(clock.time() * 1000)
            metrics = [metric(key=name, value=value, timestamp=now, step=step) for name, value in values.items()]
            self._client.log_batch(self._run_id, metrics=metrics)

    def alert(self, key: str, severity: Severity, title: str, text: str) -> None:
        if self._run_id is not None:
            said = shorten(f"{title}: {text}", _MAX_TAG)
            self._client.set_tag(self._run_id, f"{PREFIX}alert/{_tag(key)}", said)
            self._client.set_tag(self._run_id, _LAST_ALERT, said)


class LoggerTracker:
    """A logger of Lightning, or anything with ``log_metrics(metrics, step=)``; it takes numbers only.

    Most of them may be used by one thread only, so that values wait for the next step of the training.
    """

    def __init__(self, logger: Any) -> None:
        self.name = type(logger).__name__
        self._logger = logger
        self._waiting: deque[tuple[int, dict[str, float]]] = deque(maxlen=_MAX_WAITING)

    def attend(self) -> None:
        while self._waiting:
            step, values = self._waiting.popleft()
            self._logger.log_metrics(values, step=step)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        self._waiting.append((step, dict(values)))

    def alert(self, key: str, severity: Severity, title: str, text: str) -> None:
        pass


def tracker_of(logger: Any) -> Tracker | None:
    """The adapter for a logger; None if what it writes to is found without it."""
    kinds = {kind.__name__ for kind in type(logger).__mro__}
    if "WandbLogger" in kinds:
        return None  # its run is the active one
    return MlflowTracker(logger) if "MLFlowLogger" in kinds else LoggerTracker(logger)


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """What every tracker can draw."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


_LEVELS = {Severity.INFO: "info", Severity.WARNING: "warn", Severity.CRITICAL: "error"}


def _active(module: str, name: str) -> Any:
    """What the program has imported, None if it has not; a module may still be on its way."""
    return getattr(sys.modules.get(module), name, None)


def _tag(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", shorten(key, _MAX_KEY))
