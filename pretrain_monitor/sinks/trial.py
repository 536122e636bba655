"""One message of each kind to every service, to see before the run that they arrive and what they look like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ..config import NotifyConfig
from ..telemetry import Incident, Kind, Sample, Severity, Status
from .messages import Message, Words
from .picture import can_draw, picture_of
from .services import services
from .telling import News, Telling

_ONSET, _STEPS = 4_000, 120


def trial_messages(name: str, *, has_picture: bool) -> list[tuple[str, Message]]:
    """What each is, and the message; all say that they are only a test."""
    words = Words(name, "This is only a test: pretrain-monitor notify-test.")
    spike = Incident(
        id=f"loss-{_ONSET}",
        kind=Kind.SPIKE,
        severity=Severity.WARNING,
        status=Status.OPEN,
        signals=("loss", "grad_norm"),
        onset_step=_ONSET,
        detected_step=_ONSET + 2,
        peak_step=_ONSET + 2,
        end_step=None,
        expected=2.51,
        peak=3.42,
        score=18.0,
        relative_increase=0.36,
        excess_loss=1.7,
        message=f"loss rose from 2.51 to 3.42 (+36 %, 18 sd) at step {_ONSET:,}, grad_norm with it; still going on",
        advice="Keep a checkpoint from before the onset.",
    )
    worse = replace(spike, kind=Kind.DIVERGENCE, severity=Severity.CRITICAL)
    over = replace(spike, status=Status.RECOVERED, end_step=_ONSET + 40, excess_loss=12.3)
    note = replace(spike, severity=Severity.INFO, kind=Kind.BAD_BATCH, status=Status.RECOVERED)
    begins = words.of_incident(Telling(News.NEW, spike))
    if has_picture:
        begins = begins.with_picture(picture_of(_samples(), spike))
    return [
        ("an incident begins", begins),
        ("it gets worse", words.of_incident(Telling(News.WORSE, worse, spike))),
        ("it is over", words.of_incident(Telling(News.OVER, over, spike))),
        ("alerts held back", words.of_held_back([over, worse], "trial/held", "held back")),
        ("a digest", words.of_held_back([note], "trial/digest", "below an alert")),
        ("no step for long", words.of_silence("trial/silence", "31 min", _ONSET, "Its process is alive: it may hang.")),
        ("steps again", words.of_new_steps("trial/steps", _ONSET + 1)),
        ("the run crashed", words.of_end("trial/crash", _ONSET, "crashed: RuntimeError", 2, 1)),
        ("the run finished", words.of_end("trial/end", 10_000, "finished", 2, 0)),
    ]


def send_trial(config: NotifyConfig) -> Iterator[tuple[str, str, bool]]:
    """Service, what was sent, and whether it arrived; one by one, as they are sent.

    Raises:
        ConfigError: an address that cannot be used.
    """
    found = services(config.urls)
    has_picture = config.pictures and can_draw() and any(service.takes_pictures for service in found)
    for what, message in trial_messages(config.name or "notify-test", has_picture=has_picture):
        for service in found:
            yield service.label, what, service.send(message) is None


def _samples() -> list[Sample]:
    samples = []
    for step in range(_ONSET - _STEPS, _ONSET + 3):
        wiggle = 0.02 * math.sin(2.7 * step) + 0.01 * math.sin(7.1 * step)
        rise = 0.45 * (step - _ONSET) if step >= _ONSET else 0.0
        band = {"loss/lower": 2.45, "loss/upper": 2.57}
        samples.append(Sample(step, {"loss": 2.51 + wiggle + rise, "grad_norm": 0.4 + 5 * abs(wiggle) + rise, **band}))
    return samples
