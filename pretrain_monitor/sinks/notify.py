"""Alerts by mail, chat, pager or webhook: a message when an incident begins, gets worse, and is over."""

from __future__ import annotations

import logging
import shlex
import socket
import time as clock
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ..actions.orders import ActionRecord
from ..actions.words import action_title
from ..config import NotifyConfig
from ..durations import duration
from ..telemetry import Event, Incident, Sample, Severity, Status
from .delivered import FILE_NAME, Delivered
from .holding import Digest, Holding
from .messages import Message, Words
from .outbox import Outbox, Target
from .picture import can_draw, picture_of
from .services import services
from .silence import Silence
from .telling import News, Teller, Telling

logger = logging.getLogger(__name__)

_KEPT_SAMPLES = 1500  # for pictures
_INSIDE = "The process is alive, but completes no optimizer step: it may hang."
_CLOSING_SHARE = 0.8  # of the time that the end of a run waits for its sinks


class NotifySink:
    """Sends messages about one run to each of several services.

    >>> sink = NotifySink(NotifyConfig(), None, targets=[])
    >>> sink.close()

    Args:
        config: what is sent where.
        run_dir: where it is noted what has been sent; None notes nothing.
        is_fresh: the run begins from its first step.
        closing_s: how long ``close`` may take.
        targets: None: those that the addresses in ``config`` stand for.
        record: name of the file in ``run_dir``.
        why_silent: a sentence on what may be the matter when no step comes.

    Raises:
        ConfigError: an address that cannot be used.
    """

    def __init__(
        self,
        config: NotifyConfig,
        run_dir: Path | None,
        *,
        is_fresh: bool = True,
        closing_s: float = 10.0,
        targets: Sequence[Target] | None = None,
        record: str = FILE_NAME,
        now: Callable[[], float] = clock.monotonic,
        why_silent: Callable[[], str] = lambda: _INSIDE,
    ) -> None:
        found = services(config.urls) if targets is None else targets
        self._config = config
        self._closing_s = _CLOSING_SHARE * closing_s
        self._now = now
        self._why_silent = why_silent
        self._delivered = Delivered(None if run_dir is None else run_dir / record, is_fresh=is_fresh)
        self._words = _words(config, run_dir)
        self._teller = Teller(Severity(config.minimum_severity))
        for incident in self._delivered.open_incidents.values():
            self._teller.remember(incident)
        self._holding = Holding(60 * config.cooldown_minutes, config.max_per_hour)
        self._digest = None if config.digest_minutes is None else Digest(60 * config.digest_minutes)
        self._silence = Silence(None if config.stalled_minutes is None else 60 * config.stalled_minutes, now())
        self._has_pictures = config.pictures and can_draw() and any(getattr(t, "takes_pictures", False) for t in found)
        self._samples: deque[Sample] = deque(maxlen=_KEPT_SAMPLES if self._has_pictures else 1)
        self._alerts: dict[str, Incident] = {}
        self._gathered = 0
        self._outboxes = [Outbox(target, delivered=self._note(target.label)) for target in found]

    @property
    def waiting(self) -> int:
        """Messages that have not arrived."""
        return sum(outbox.waiting for outbox in self._outboxes)

    def on_sample(self, sample: Sample) -> None:
        self._samples.append(sample)
        if self._silence.end(self._now()):
            self._send(self._words.of_new_steps(f"steps/{clock.time():.0f}", sample.step))

    def on_event(self, event: Event) -> None:
        incident = event.incident
        if incident.is_alert:
            self._alerts[incident.id] = incident
        telling = self._teller.tell(event)
        if telling is None:
            if self._digest is not None and incident.severity < self._config.minimum_severity:
                self._digest.note(incident, self._now())
            return
        if self._digest is not None:
            self._digest.drop(incident)
        if telling.news is News.OVER and not self._config.resolved:
            return
        if self._holding.admits(telling, self._now()):
            self._tell(telling)

    def on_action(self, record: ActionRecord) -> None:
        if record.do == "rewind" and record.is_done:
            self._delivered.forget(self._teller.forget_after(record.step))
            self._alerts = {key: one for key, one in self._alerts.items() if one.detected_step <= record.step}
        if self._config.actions and record.do != "skip_step":
            key = f"action/{record.do}/{record.step}/{record.time:.3f}"
            self._send(self._words.of_action(key, action_title(record), record.reason))

    def on_tick(self) -> None:
        """Once in a while, whatever the training does: what is due by time alone."""
        now = self._now()
        self._send_gathered(now, is_over=False)
        silent_s = self._silence.begin(now)
        if silent_s is not None:
            step = self._samples[-1].step if self._samples else None
            key = f"silence/{clock.time():.0f}"
            self._send(self._words.of_silence(key, duration(silent_s), step, self._why_silent()))

    def on_end(self, step: int | None, reason: str) -> None:
        """The run is over.

        Args:
            reason: ``finished``, or what else ended it, such as ``crashed: RuntimeError``.
        """
        self._silence.stop()
        self._send_gathered(self._now(), is_over=True)
        if self._config.ended:
            still_open = sum(i.status in (Status.OPEN, Status.ENDED_RUN) for i in self._alerts.values())
            key = f"end/{clock.time():.6f}"  # a job that is started anew may end within the same second
            self._send(self._words.of_end(key, step, reason, len(self._alerts), still_open))

    def close(self) -> None:
        self._send_gathered(self._now(), is_over=True)
        deadline = clock.monotonic() + self._closing_s
        for outbox in self._outboxes:
            if left := outbox.close(max(0.0, deadline - clock.monotonic())):
                logger.error("messages to %s: %d could not be delivered before the end", outbox.target.label, left)

    def _tell(self, telling: Telling) -> None:
        message = self._words.of_incident(telling)
        if self._has_pictures and telling.news is News.NEW:
            message = message.with_picture(picture_of(list(self._samples), telling.incident))
        self._send(message, is_counted=True)

    def _send_gathered(self, now: float, *, is_over: bool) -> None:
        for gathering in (self._holding, self._digest):
            gathered = None if gathering is None else gathering.due(now, is_over=is_over)
            if gathered is not None:
                self._gathered += 1
                key = f"gathered/{clock.time():.0f}/{self._gathered}"
                self._send(self._words.of_held_back(gathered.incidents, key, gathered.why), is_counted=True)

    def _send(self, message: Message, *, is_counted: bool = False) -> None:
        if not is_counted:
            self._holding.count(self._now())
        for outbox in self._outboxes:
            if not self._delivered.has(outbox.target.label, message.key):
                outbox.put(message)

    def _note(self, label: str) -> Callable[[Message], None]:
        return lambda message: self._delivered.add(label, message)


def _words(config: NotifyConfig, run_dir: Path | None) -> Words:
    host = socket.gethostname()
    if run_dir is None:
        return Words(config.name or "training run", f"On {host}")
    where = run_dir.absolute()
    explain = f"pretrain-monitor explain {shlex.quote(str(where))} {{id}}"
    return Words(config.name or where.name, f"{where} on {host}", explain)
