from __future__ import annotations

import logging
import time

import pytest
from loopback import Web, until

from pretrain_monitor.sinks.messages import Message
from pretrain_monitor.sinks.outbox import Outbox
from pretrain_monitor.sinks.services import services

QUICK = (0.05, 0.2)


def message(number: int, level: str = "warning") -> Message:
    return Message(f"key{number}", level, f"title {number}", "text")


@pytest.fixture
def web():
    with_web = Web()
    yield with_web
    with_web.close()


def outbox_to(web: Web, delivered: list[Message] | None = None, **settings: object) -> Outbox:
    (target,) = services([web.url()])
    note = (lambda message: None) if delivered is None else delivered.append
    return Outbox(target, delivered=note, **{"waits_s": QUICK, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("trouble", [500, 429, 403, Web.HANG], ids=["fails", "limits the rate", "forbids", "hangs"])
def test_messages_arrive_after_an_outage_in_order_and_once(web: Web, trouble: int):
    web.behaviour = trouble
    delivered: list[Message] = []
    outbox = outbox_to(web, delivered)
    for number in range(10):
        outbox.put(message(number))
    assert until(lambda: web.tries >= 1)
    assert not web.taken
    assert outbox.waiting == 10
    web.behaviour = Web.OK
    assert until(lambda: len(web.taken) == 10)
    assert web.titles == [f"title {number}" for number in range(10)]
    assert until(lambda: outbox.waiting == 0)
    assert delivered == [message(number) for number in range(10)]
    assert outbox.close(5) == 0


def test_putting_a_message_takes_no_time_while_the_service_hangs(web: Web):
    web.behaviour = Web.HANG
    outbox = outbox_to(web)
    started = time.perf_counter()
    for number in range(1000):
        outbox.put(message(number))
    assert time.perf_counter() - started < 0.5
    assert outbox.close(0.2) > 0


def test_what_waits_is_bounded_and_the_next_message_tells_of_what_was_left_out(web: Web):
    web.behaviour = 500
    outbox = outbox_to(web, max_waiting=5)
    outbox.put(message(0))
    assert until(lambda: web.tries >= 1)
    for number in range(1, 100):
        outbox.put(message(number, "critical" if number < 3 else "warning"))
    assert outbox.waiting <= 6
    web.behaviour = Web.OK
    assert until(lambda: outbox.waiting == 0)
    assert web.titles == ["title 0", "title 1", "title 2", "title 97", "title 98", "title 99"], "urgent ones stay"
    assert "94 messages before this one could not be delivered" in web.taken[0]["message"]
    assert all("could not be delivered" not in taken["message"] for taken in web.taken[1:])


def test_closing_gives_up_in_time_and_says_how_many_are_left(web: Web):
    web.behaviour = 500
    outbox = outbox_to(web, waits_s=(0.05, 30.0))
    outbox.put(message(1))
    outbox.put(message(2))
    assert until(lambda: web.tries >= 3)
    started = time.monotonic()
    assert outbox.close(0.5) == 2
    assert time.monotonic() - started < 1.5


def test_closing_delivers_what_was_still_waiting(web: Web):
    web.behaviour = 500
    outbox = outbox_to(web, waits_s=(0.1, 30.0))
    for number in range(3):
        outbox.put(message(number))
    assert until(lambda: web.tries >= 3)  # by now it would wait for long
    web.behaviour = Web.OK
    assert outbox.close(10) == 0
    assert web.titles == ["title 0", "title 1", "title 2"]


def test_a_message_that_nobody_took_for_too_long_is_given_up(web: Web):
    web.behaviour = 500
    outbox = outbox_to(web, max_age_s=0.3)
    outbox.put(message(1))
    assert until(lambda: outbox.waiting == 0)
    web.behaviour = Web.OK
    outbox.put(message(2))
    assert until(lambda: len(web.taken) == 1)
    assert "1 message before this one" in web.taken[0]["message"]


def test_an_outage_is_logged_once_at_its_beginning_and_once_at_its_end(web: Web, caplog: pytest.LogCaptureFixture):
    web.behaviour = 500
    outbox = outbox_to(web)
    outbox.put(message(1))
    assert until(lambda: web.tries >= 4)
    web.behaviour = Web.OK
    assert until(lambda: outbox.waiting == 0)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [
        "messages to json#1 do not arrive (not reached, or it refused them); they wait, and training goes on",
        "messages to json#1 arrive again after 0 min",
    ]


def test_a_target_that_raises_is_tried_again():
    class Target:
        label = "mine"
        tries = 0

        def send(self, message: Message) -> str | None:
            self.tries += 1
            if self.tries < 3:
                raise RuntimeError("password=hunter2")
            return None

    target = Target()
    outbox = Outbox(target, delivered=lambda message: None, waits_s=QUICK)
    outbox.put(message(1))
    assert until(lambda: target.tries == 3 and outbox.waiting == 0)
