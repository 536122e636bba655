from __future__ import annotations

import threading

import pytest

from pretrain_monitor import Sample
from pretrain_monitor.sinks.dispatch import SinkThread


def test_a_sink_is_called_in_the_thread_of_the_training_before_it_gets_what_is_handed_over():
    class Attends:
        def __init__(self) -> None:
            self.calls: list[tuple[str, int]] = []

        def on_handover(self) -> None:
            self.calls.append(("handover", threading.get_ident()))

        def on_sample(self, sample: Sample) -> None:
            self.calls.append(("sample", threading.get_ident()))

    sink = Attends()
    thread = SinkThread(sink)
    thread.put(Sample(1, {}), [])
    thread.put(None, [])
    thread.close(10)
    here = threading.get_ident()
    assert [(what, where == here) for what, where in sorted(sink.calls)] == [
        ("handover", True),
        ("handover", True),
        ("sample", False),
    ]
    assert sink.calls[0] == ("handover", here)


def test_a_sink_that_fails_where_it_is_handed_something_does_not_hurt_the_training(caplog: pytest.LogCaptureFixture):
    class Broken:
        calls = 0

        def on_handover(self) -> None:
            self.calls += 1
            raise OSError("gone")

        def on_sample(self, sample: Sample) -> None:
            pass

    sink = Broken()
    thread = SinkThread(sink)
    for step in range(3):
        thread.put(Sample(step, {}), [])
    thread.close(10)
    assert sink.calls == 1
    assert "sink Broken failed" in caplog.text
