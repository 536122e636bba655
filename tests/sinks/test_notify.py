from __future__ import annotations

import base64
import email
import json
import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from loopback import Web, until
from test_telemetry import an_incident

from pretrain_monitor import Event, Incident, Monitor, Sample, Severity
from pretrain_monitor.config import ConfigError, NotifyConfig
from pretrain_monitor.sinks.notify import NotifySink
from pretrain_monitor.telemetry import Change, Kind, Status

SPIKE = an_incident(
    id="loss-900",
    kind=Kind.SPIKE,
    signals=("loss", "grad_norm"),
    onset_step=900,
    detected_step=905,
    message="loss rose from 2.21 to 3.45 (+56 %, 33 sd) at step 900; still going on",
    advice="Keep a checkpoint from before the onset.",
)
OVER = replace(SPIKE, status=Status.RECOVERED, end_step=940)
# By this the tests go, and not by the clock.
QUIET = {"cooldown_minutes": 0.0, "pictures": False, "stalled_minutes": None}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def web():
    with_web = Web()
    yield with_web
    with_web.close()


def a_sink(
    web: Web, run_dir: Path | None = None, *, now: Any = None, is_fresh: bool = True, **settings: Any
) -> NotifySink:
    config = NotifyConfig(urls=(web.url(),), name="night run", **{**QUIET, **settings})
    clock = {} if now is None else {"now": now}
    return NotifySink(config, run_dir, is_fresh=is_fresh, closing_s=20.0, **clock)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def event(change: Change, incident: Incident) -> Event:
    return Event(incident.detected_step, incident.id, change, incident)


def test_an_incident_is_one_message_when_it_begins_one_when_it_gets_worse_and_one_when_it_is_over(web: Web):
    sink = a_sink(web)
    worse = replace(SPIKE, severity=Severity.CRITICAL, kind=Kind.DIVERGENCE)
    for change, incident in (
        (Change.OPENED, replace(SPIKE, severity=Severity.INFO)),
        (Change.UPDATED, SPIKE),
        (Change.UPDATED, SPIKE),
        (Change.CLASSIFIED, worse),
        (Change.UPDATED, worse),
        (Change.CLOSED, replace(OVER, severity=Severity.CRITICAL)),
    ):
        sink.on_event(event(change, incident))
    sink.close()
    assert web.titles == [
        "night run: WARNING: spike at step 900, seen 5 steps later",
        "night run: CRITICAL (was warning): divergence at step 900, seen 5 steps later",
        "night run: spike at step 900: recovered",
    ]
    assert [message["type"] for message in web.taken] == ["warning", "failure", "success"]
    assert web.taken[0]["message"].splitlines()[:2] == [SPIKE.message, f"What to do: {SPIKE.advice}"]
    assert "over at step 940, after 40 steps" in web.taken[2]["message"]


def test_messages_say_where_the_run_is_and_how_to_see_why(web: Web, tmp_path: Path):
    run_dir = tmp_path / "a run"
    run_dir.mkdir()
    sink = a_sink(web, run_dir)
    sink.on_event(event(Change.OPENED, SPIKE))
    sink.close()
    why, where = web.taken[0]["message"].splitlines()[2:]
    assert why == f"Why: pretrain-monitor explain '{run_dir}' loss-900"
    assert where.startswith(f"{run_dir} on ")


def test_without_resolved_nothing_is_said_when_it_is_over(web: Web):
    sink = a_sink(web, resolved=False)
    sink.on_event(event(Change.OPENED, SPIKE))
    sink.on_event(event(Change.CLOSED, OVER))
    sink.close()
    assert len(web.taken) == 1


def test_a_restarted_run_does_not_tell_the_same_incident_again_but_tells_how_it_ends(web: Web, tmp_path: Path):
    first = a_sink(web, tmp_path)
    first.on_event(event(Change.OPENED, SPIKE))
    first.close()
    second = a_sink(web, tmp_path, is_fresh=False)
    second.on_event(event(Change.OPENED, SPIKE))
    second.on_event(event(Change.CLOSED, OVER))
    second.close()
    third = a_sink(web, tmp_path, is_fresh=False)
    third.on_event(event(Change.OPENED, SPIKE))
    third.on_event(event(Change.CLOSED, OVER))
    third.close()
    assert len(web.taken) == 2
    assert web.titles[1] == "night run: spike at step 900: recovered"


def test_another_run_in_the_same_directory_tells_its_own_incidents(web: Web, tmp_path: Path):
    for _ in range(2):
        sink = a_sink(web, tmp_path, is_fresh=True)
        sink.on_event(event(Change.OPENED, SPIKE))
        sink.close()
    again = a_sink(web, tmp_path, is_fresh=False)
    again.on_event(event(Change.OPENED, SPIKE))
    again.close()
    assert len(web.taken) == 2


def test_what_could_not_be_delivered_is_sent_by_the_next_session(web: Web, tmp_path: Path):
    web.behaviour = 500
    config = NotifyConfig(urls=(web.url(),), **QUIET)
    sink = NotifySink(config, tmp_path, is_fresh=True, closing_s=0.5)
    sink.on_event(event(Change.OPENED, SPIKE))
    sink.close()
    web.behaviour = Web.OK
    again = a_sink(web, tmp_path, is_fresh=False)
    again.on_event(event(Change.OPENED, SPIKE))
    again.close()
    assert len(web.taken) == 1


def test_one_service_that_fails_keeps_no_message_from_another(web: Web):
    broken = Web(500)
    config = NotifyConfig(urls=(broken.url(), web.url()), **QUIET)
    sink = NotifySink(config, None, closing_s=1.0)
    sink.on_event(event(Change.OPENED, SPIKE))
    assert until(lambda: len(web.taken) == 1)
    sink.close()
    broken.close()


def test_further_alerts_of_a_kind_are_gathered_until_the_cool_down_is_over(web: Web):
    now = Clock()
    sink = a_sink(web, now=now, cooldown_minutes=10.0)
    others = [replace(SPIKE, id=f"loss-{step}", onset_step=step, detected_step=step) for step in (950, 970, 990)]
    sink.on_event(event(Change.OPENED, SPIKE))
    now.now += 60
    for other in others:
        sink.on_event(event(Change.OPENED, other))
    sink.on_event(event(Change.CLOSED, replace(others[0], status=Status.RECOVERED)))
    urgent = replace(SPIKE, id="loss-995", severity=Severity.CRITICAL, onset_step=995, detected_step=995)
    sink.on_event(event(Change.OPENED, urgent))
    another = replace(SPIKE, id="lr-996", kind=Kind.LR_ANOMALY, onset_step=996, detected_step=996)
    sink.on_event(event(Change.OPENED, another))
    sink.on_tick()
    assert until(lambda: len(web.taken) == 3), "a critical one and one of another kind are told at once"
    now.now += 541
    sink.on_tick()
    sink.on_tick()
    sink.close()
    assert web.titles[3:] == ["night run: 3 alerts held back"]
    lines = web.taken[3]["message"].splitlines()
    assert lines[0].startswith("warning: spike at step 950 (recovered): loss rose")
    assert lines[2].startswith("warning: spike at step 990 (still open): loss rose")


def test_no_more_messages_than_allowed_are_sent_in_an_hour(web: Web):
    now = Clock()
    sink = a_sink(web, now=now, max_per_hour=5)
    for step in range(100):
        now.now += 1
        sink.on_event(event(Change.OPENED, replace(SPIKE, id=f"loss-{step}", onset_step=step, detected_step=step)))
        sink.on_tick()
    assert until(lambda: len(web.taken) == 5)
    now.now += 3600
    sink.on_tick()
    assert until(lambda: len(web.taken) == 6)
    assert web.titles[5] == "night run: 95 alerts held back"
    assert web.taken[5]["message"].startswith("the last 12 of 95:")
    sink.close()
    assert len(web.taken) == 6


def test_a_digest_tells_incidents_that_are_no_alerts_together_and_not_those_that_became_one(web: Web):
    now = Clock()
    sink = a_sink(web, now=now, digest_minutes=60.0)
    notes = [
        replace(SPIKE, id=f"loss-{step}", severity=Severity.INFO, kind=Kind.BAD_BATCH, onset_step=step)
        for step in (10, 20, 30)
    ]
    for note in notes:
        sink.on_event(event(Change.OPENED, note))
    sink.on_event(event(Change.UPDATED, replace(notes[0], severity=Severity.WARNING)))
    sink.on_event(event(Change.CLOSED, replace(notes[1], status=Status.RECOVERED)))
    now.now += 3599
    sink.on_tick()
    now.now += 2
    sink.on_tick()
    sink.close()
    assert web.titles[0].startswith("night run: WARNING: bad batch at step 10")
    assert web.titles[1:] == ["night run: 2 notes below an alert"]
    assert web.taken[1]["type"] == "info"
    assert "bad batch at step 20 (recovered)" in web.taken[1]["message"]


def test_silence_is_told_once_and_so_is_its_end(web: Web):
    now = Clock()
    sink = a_sink(web, now=now, stalled_minutes=30.0)
    sink.on_sample(Sample(41, {"loss": 2.0}))
    for _ in range(3):
        now.now += 700
        sink.on_tick()
    now.now += 3600
    sink.on_tick()
    sink.on_sample(Sample(42, {"loss": 2.0}))
    sink.on_sample(Sample(43, {"loss": 2.0}))
    sink.on_end(43, "finished")
    now.now += 36000
    sink.on_tick()
    sink.close()
    assert web.titles == [
        "night run: no step for 35 min, since step 41",
        "night run: going on at step 42",
        "night run: finished at step 43",
    ]


@pytest.mark.parametrize(
    ("reason", "level", "title"),
    [
        ("finished", "success", "night run: finished at step 950"),
        ("crashed: RuntimeError", "failure", "night run: crashed: RuntimeError at step 950"),
    ],
)
def test_the_end_of_a_run_is_told_with_what_ended_it(web: Web, reason: str, level: str, title: str):
    sink = a_sink(web)
    sink.on_event(event(Change.OPENED, SPIKE))
    sink.on_event(event(Change.CLOSED, OVER))
    sink.on_end(950, reason)
    sink.close()
    assert (web.titles[2], web.taken[2]["type"]) == (title, level)
    assert web.taken[2]["message"].startswith("1 alert in this run.")


def test_both_ends_of_a_run_that_ends_twice_within_a_second_are_told(web: Web):
    sink = a_sink(web)
    sink.on_end(40, "its process is gone")
    sink.on_end(239, "finished")
    sink.close()
    assert web.titles == ["night run: its process is gone at step 40", "night run: finished at step 239"]


def test_where_pictures_are_taken_the_curves_come_along(web: Web):
    sink = a_sink(web, pictures=True)
    for step in range(800, 906):
        loss = 2.2 if step < 900 else 3.4
        sink.on_sample(Sample(step, {"loss": loss, "loss/lower": 2.0, "loss/upper": 2.4, "grad_norm": float("nan")}))
    sink.on_event(event(Change.OPENED, SPIKE))
    sink.on_event(event(Change.CLOSED, OVER))
    sink.close()
    (picture,) = web.taken[0]["attachments"]
    assert base64.b64decode(picture["base64"]).startswith(b"\x89PNG")
    assert not web.taken[1]["attachments"], "one picture an incident"


def test_mail_arrives_with_subject_text_and_picture(tmp_path: Path):
    mails = []

    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            mails.append(email.message_from_bytes(envelope.content))
            return "250 OK"

    port = free_port()
    controller = Controller(Box(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        address = f"mailto://127.0.0.1:{port}?from=monitor@example.org&to=oncall@example.org&mode=insecure"
        sink = NotifySink(NotifyConfig(urls=(address,), name="night run", **{**QUIET, "pictures": True}), None)
        for step in (898, 899, 900, 905):
            sink.on_sample(Sample(step, {"loss": 2.2}))
        sink.on_event(event(Change.OPENED, SPIKE))
        sink.close()
    finally:
        controller.stop()
    (mail,) = mails
    assert mail["Subject"] == "night run: WARNING: spike at step 900, seen 5 steps later"
    parts = {part.get_content_type(): part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()}
    assert b"loss rose from 2.21 to 3.45" in next(text for kind, text in parts.items() if kind.startswith("text/"))
    assert parts["image/png"].startswith(b"\x89PNG")


def test_a_monitor_sends_and_ends_in_time_whatever_the_service_does(web: Web, tmp_path: Path):
    web.behaviour = Web.HANG
    config = {
        "console": {"enabled": False},
        "tensorboard": {"enabled": False},
        "sink_timeout_s": 1.0,
        "notify": {"urls": [web.url()], **QUIET},
    }
    monitor = Monitor(tmp_path, config)
    monitor.start()
    for step in range(1, 30):
        monitor.observe(Sample(step, {"loss": float("nan") if step == 20 else 2.0}))
    assert until(lambda: web.tries >= 1)
    monitor.finish("finished")
    web.close()


def test_a_run_tells_what_happened_and_how_it_ended(web: Web, tmp_path: Path):
    config = {
        "console": {"enabled": False},
        "tensorboard": {"enabled": False},
        "notify": {"urls": [web.url()], "name": "x", **QUIET},
    }
    monitor = Monitor(tmp_path, config)
    monitor.start()
    for step in range(1, 30):
        monitor.observe(Sample(step, {"loss": float("nan") if step == 20 else 2.0}))
    monitor.finish("crashed: ValueError")
    assert web.titles[0] == "x: CRITICAL: nonfinite at step 20"
    assert web.titles[-1] == "x: crashed: ValueError at step 29"


def test_no_secret_is_written_or_logged(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HOOK_PASSWORD", "hunter2x")
    addresses = [web.url("me:${HOOK_PASSWORD}@", "?token=querysecret"), web.url("me:literalsecret@")]
    config = {"console": {"enabled": False}, "tensorboard": {"enabled": False}, "notify": {"urls": addresses, **QUIET}}
    monitor = Monitor(tmp_path, config)
    monitor.start()
    web.behaviour = 500
    for step in range(1, 30):
        monitor.observe(Sample(step, {"loss": float("nan") if step == 20 else 2.0}))
    assert until(lambda: web.tries >= 2)
    web.behaviour = Web.OK
    monitor.finish("finished")
    assert base64.b64decode(web.headers[0]["Authorization"].split()[1]) in (b"me:hunter2x", b"me:literalsecret")
    kept = "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
    said = "".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    for secret in ("hunter2x", "literalsecret", "querysecret"):
        assert secret not in kept
        assert secret not in said
    assert "json://***" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


def test_other_programs_may_log_what_they_send_with_the_same_libraries(web: Web, caplog: pytest.LogCaptureFixture):
    a_sink(web).close()
    with caplog.at_level(logging.WARNING):
        logging.getLogger("apprise").warning("of somebody else")
    assert "of somebody else" in caplog.text


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("nothing", "notify.urls[0] (***): no service that apprise knows"),
        ("foo://me:secret@x", "notify.urls[0] (foo://***): no service that apprise knows"),
        ("slack://only-one", "notify.urls[0] (slack://***): no service that apprise knows"),
        ("json://x/${NOT_SET_ANYWHERE}", "notify.urls: ${NOT_SET_ANYWHERE} is not set; export NOT_SET_ANYWHERE=..."),
        ("json://x/${}", "notify.urls: between ${ and } comes the name of an environment variable"),
        ("json://***", "notify.urls[0] (json://***): addresses are not kept in run directories: give your own file"),
    ],
)
def test_a_wrong_address_is_one_line_at_the_start_without_what_may_be_a_secret(address: str, line: str):
    with pytest.raises(ConfigError) as refused:
        Monitor(None, {"notify": {"urls": [address]}})
    said = str(refused.value)
    assert said.startswith(line)
    assert "\n" not in said
    assert "secret" not in said


def test_other_ranks_need_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    Monitor(None, {"notify": {"urls": ["json://x/${NOT_SET_ANYWHERE}"]}})


def test_the_record_of_what_was_sent_survives_what_is_damaged(web: Web, tmp_path: Path):
    sink = a_sink(web, tmp_path)
    sink.on_event(event(Change.OPENED, SPIKE))
    sink.close()
    record = tmp_path / "notified.jsonl"
    with record.open("a", encoding="utf-8") as file:
        file.write('[1]\n{"to": "json#1"}\n{"to": "json#1", "key": "k", "incident": {"id": 3}}\n{"to": "js')
    again = a_sink(web, tmp_path, is_fresh=False)
    again.on_event(event(Change.OPENED, SPIKE))
    again.close()
    assert len(web.taken) == 1
    lines = record.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["key"] == "loss-900/warning"
