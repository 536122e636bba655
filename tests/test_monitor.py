from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curves import healthy_run, samples
from test_telemetry import an_incident

from pretrain_monitor import Event, ListSink, Monitor, Sample, read_run
from pretrain_monitor.config import ConfigError
from pretrain_monitor.sinks.dispatch import SinkThread
from pretrain_monitor.telemetry import Change

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


def run(monitor: Monitor, n: int = 20, bad: int | None = None) -> None:
    monitor.start()
    for step in range(1, n + 1):
        monitor.observe(Sample(step, {"loss": float("nan") if step == bad else 2.0, "grad_norm": 1.0}))
    monitor.finish()


def test_a_sample_reaches_the_log_and_the_sinks_and_an_event_comes_with_it(tmp_path: Path):
    sink = ListSink()
    run(Monitor(tmp_path, QUIET, sinks=[sink]), bad=7)
    assert [s.step for s in sink.samples] == list(range(1, 21))
    assert (sink.events[0].step, sink.events[0].change.value) == (7, "opened")
    assert sink.is_closed
    assert len(list(read_run(tmp_path))) == 20


def test_sinks_see_what_was_expected_beside_what_came():
    sink = ListSink()
    monitor = Monitor(None, QUIET, sinks=[sink])
    for sample in samples(healthy_run(80, seed=0)):
        monitor.observe(sample)
    monitor.finish()
    last = sink.samples[-1].metrics
    assert last["loss/lower"] < last["loss/expected"] < last["loss/upper"]
    assert last["grad_norm/lower"] < last["grad_norm/upper"]


class Raises:
    def on_sample(self, sample: Sample) -> None:
        raise OSError("the other side is gone")


class Hangs:
    def __init__(self) -> None:
        self.let_go = threading.Event()

    def on_sample(self, sample: Sample) -> None:
        self.let_go.wait(30)


class Slow:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.events: list[Event] = []

    def on_sample(self, sample: Sample) -> None:
        time.sleep(0.002)
        self.seen.append(sample.step)

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def test_a_sink_that_raises_is_told_once_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    sink = ListSink()
    run(Monitor(tmp_path, QUIET, sinks=[Raises(), sink]))
    assert caplog.text.count("sink Raises failed and is switched off") == 1
    assert len(sink.samples) == 20
    assert len(list(read_run(tmp_path))) == 20


def test_a_sink_that_hangs_costs_the_run_no_time(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    sink = Hangs()
    began = time.monotonic()
    run(Monitor(tmp_path, {**QUIET, "sink_timeout_s": 0.2}, sinks=[sink]), n=200)
    assert time.monotonic() - began < 5
    assert "sink Hangs did not finish within 0.2 s" in caplog.text
    assert len(list(read_run(tmp_path))) == 200
    sink.let_go.set()


def test_a_slow_sink_gets_everything_in_order_without_slowing_the_run():
    sink = Slow()
    monitor = Monitor(None, QUIET, sinks=[sink])
    monitor.start()
    began = time.monotonic()
    for step in range(1, 301):
        monitor.observe(Sample(step, {"loss": 2.0}))
    in_the_loop = time.monotonic() - began
    monitor.finish()
    assert sink.seen == list(range(1, 301))
    assert in_the_loop < 300 * 0.002, "observing must not wait for the sink"


def test_a_full_queue_drops_samples_and_never_events(caplog: pytest.LogCaptureFixture):
    sink = Slow()
    thread = SinkThread(sink, max_queued=5)
    event = Event(1, "loss-12", Change.OPENED, an_incident())
    for step in range(1, 41):
        thread.put(Sample(step, {"loss": 2.0}), [event])
    thread.close(10)
    assert len(sink.events) == 40
    assert thread.dropped_samples > 0
    assert len(sink.seen) + thread.dropped_samples == 40
    assert "samples were not shown" in caplog.text


class BrokenDetector:
    last_step: int | None = None
    incidents: list[Any] = []  # noqa: RUF012

    def update(self, sample: Sample) -> list[Event]:
        raise ZeroDivisionError("a bug")


def test_a_bug_in_detection_leaves_telemetry_and_training_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    monitor.detector = BrokenDetector()  # type: ignore[assignment]
    for step in range(1, 11):
        monitor.observe(Sample(step, {"loss": 2.0}))
    monitor.finish()
    assert caplog.text.count("detection failed and is switched off") == 1
    assert len(list(read_run(tmp_path))) == 10


def test_steps_that_go_backwards_are_left_out_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    for step in (1, 2, 3, 2, 3, 4):
        monitor.observe(Sample(step, {"loss": 2.0}))
    monitor.finish()
    assert [s.step for s in read_run(tmp_path)] == [1, 2, 3, 4]
    assert caplog.text.count("steps may not go backwards") == 1


def test_a_second_sample_of_a_step_may_bring_other_signals(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    monitor.observe(Sample(1, {"loss": 2.0}))
    monitor.observe(Sample(1, {"heldout/code/perplexity": 7.0}))
    monitor.finish()
    assert [list(s.metrics) for s in read_run(tmp_path)] == [["loss"], ["heldout/code/perplexity"]]


@pytest.mark.parametrize("where", ["file", "/proc/nowhere"])
def test_a_run_directory_that_cannot_be_used_is_one_line_and_the_incidents_are_still_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str
):
    (tmp_path / "file").write_text("")
    sink = ListSink()
    run(Monitor(tmp_path / where, QUIET, sinks=[sink]), bad=5)
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(lines) == 1
    assert "Training goes on" in lines[0]
    assert sink.events


def test_a_read_only_run_directory_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "run.lock").mkdir()  # what root cannot open for writing either
    run(Monitor(tmp_path, QUIET))
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == [
        f"run directory {tmp_path} cannot be written: Is a directory. "
        "Training goes on; incidents are told but nothing is written"
    ]


def test_a_wrong_setting_is_refused_before_training_starts():
    with pytest.raises(ConfigError, match="did you mean 'warmup_steps'"):
        Monitor(None, {"warmup_step": 100})


def test_finish_may_be_called_twice_and_start_again(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    run(monitor)
    monitor.finish()
    run(monitor)
    assert len(list(read_run(tmp_path))) == 20


def test_the_resolved_settings_lie_in_the_run_directory(tmp_path: Path):
    from pretrain_monitor.config import load_config

    run(Monitor(tmp_path, {**QUIET, "memory_steps": 40}))
    assert load_config(tmp_path / "config.yaml").memory_steps == 40


def test_samples_are_on_disk_when_observe_returns(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    monitor.observe(Sample(1, {"loss": 2.0}))
    assert b'"step":1' in (tmp_path / "run.jsonl").read_bytes()
    monitor.finish()


def test_non_finite_values_go_through_everything(tmp_path: Path):
    sink = ListSink()
    monitor = Monitor(tmp_path, QUIET, sinks=[sink])
    monitor.start()
    for step, loss in enumerate([1.0, float("inf"), float("-inf"), float("nan")], start=1):
        monitor.observe(Sample(step, {"loss": loss, "grad_norm": float("nan"), "learning_rate": float("nan")}))
    monitor.finish()
    assert len(sink.samples) == 4
    assert len(list(read_run(tmp_path))) == 4
    assert (tmp_path / "run.jsonl").stat().st_size > 0


def test_numpy_numbers_go_into_the_log_and_what_is_no_number_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    monitor.observe(Sample(np.int64(1), {"loss": np.float32(2.5)}, meta={"path": tmp_path}))  # type: ignore[arg-type, dict-item]
    monitor.observe(Sample(2, {"loss": "high"}))  # type: ignore[dict-item]
    monitor.observe(Sample(3, {"loss": 2.0}))
    monitor.finish()
    assert [(s.step, s.metrics["loss"]) for s in read_run(tmp_path)] == [(1, 2.5), (3, 2.0)]
    assert caplog.text.count("could not be taken") == 1


def test_values_at_the_end_of_float_range_are_survived(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    for step in range(1, 300):
        value = 1e308 if step in (30, 260) else 2.0
        monitor.observe(Sample(step, {"loss": value, "grad_norm": value, "reward": -value}))
    monitor.finish()
    assert len(list(read_run(tmp_path))) == 299
    assert {i.onset_step for i in monitor.incidents if i.is_alert} == {30, 260}


def test_threads_that_observe_together_leave_a_log_in_order(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    steps = iter(range(1, 401))

    def feed() -> None:
        for step in steps:
            monitor.observe(Sample(step, {"loss": 2.0}))

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monitor.finish()
    logged = [s.step for s in read_run(tmp_path)]
    assert logged == sorted(logged)


def test_a_forked_child_leaves_the_run_of_its_parent_alone(tmp_path: Path):
    code = """
        import os, sys
        from pretrain_monitor import Monitor, Sample
        monitor = Monitor(sys.argv[1], {"console": {"enabled": False}, "tensorboard": {"enabled": False}})
        monitor.start()
        monitor.observe(Sample(1, {"loss": 2.0}))
        if (child := os.fork()) == 0:
            monitor.observe(Sample(2, {"loss": 9.0}))
            monitor.finish("child")
            os._exit(0)
        os.waitpid(child, 0)
        monitor.observe(Sample(2, {"loss": 2.0}))
        monitor.finish()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path / "run"], check=True, timeout=60)
    assert [(s.step, s.metrics["loss"]) for s in read_run(tmp_path / "run")] == [(1, 2.0), (2, 2.0)]
    assert '"reason":"child"' not in (tmp_path / "run" / "run.jsonl").read_text()


class Hostile:
    @property
    def on_sample(self) -> None:
        raise OSError("not even to be looked at")


def test_a_sink_that_cannot_be_looked_at_is_left_out(caplog: pytest.LogCaptureFixture):
    sink = ListSink()
    run(Monitor(None, QUIET, sinks=[Hostile(), sink]))
    assert len(sink.samples) == 20
    assert "a sink failed" in caplog.text


@pytest.mark.parametrize("step", [None, -1, "7", 2.5])
def test_a_start_that_is_no_step_is_told_once_and_begins_at_0(step: Any, caplog: pytest.LogCaptureFixture):
    sink = ListSink()
    monitor = Monitor(None, QUIET, sinks=[sink])
    monitor.start(step)
    monitor.observe(Sample(1, {"loss": 2.0}, tokens_seen=5))
    monitor.finish()
    assert [r.getMessage() for r in caplog.records] == [
        f"watching cannot begin after step {step!r} and begins at 0: give the optimizer steps completed"
    ]
    assert (monitor.tokens_seen, len(sink.samples)) == (0, 1)


def test_a_start_step_of_numpy_is_a_step():
    sink = ListSink()
    monitor = Monitor(None, QUIET, sinks=[sink])
    monitor.start(np.int64(4))  # type: ignore[arg-type]
    monitor.observe(Sample(5, {"loss": 2.0}))
    monitor.finish()
    assert sink.samples[0].meta == {"resumed_from": 4}


class Nothing:
    def __repr__(self) -> str:
        return "<Nothing>"


METHODS = "on_sample, on_event, on_action, on_end, on_tick, on_handover, close"


@pytest.mark.parametrize(
    ("sinks", "line"),
    [
        ([None], f"sinks[0] = None is no sink: it has none of {METHODS}"),
        (
            [ListSink(), Nothing()],
            f"sinks[1] = <Nothing> is no sink: it has none of {METHODS}",
        ),
        ([ListSink], "sinks[0] is the class ListSink: give an object of it, ListSink(...)"),
        (5, "sinks takes a list of sinks, got 5"),
        (None, "sinks takes a list of sinks, got None"),
        ("console", "sinks takes a list of sinks, got 'console'"),
    ],
)
def test_what_is_no_sink_is_refused_at_the_door(sinks: Any, line: str):
    with pytest.raises(ConfigError) as refused:
        Monitor(None, QUIET, sinks=sinks)
    assert str(refused.value) == line


def test_sinks_may_come_from_any_iterable_and_need_only_one_method():
    class OnlyCloses:
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    first, second = ListSink(), OnlyCloses()
    run(Monitor(None, QUIET, sinks=(sink for sink in (first, second))))  # type: ignore[arg-type]
    assert len(first.samples) == 20
    assert second.is_closed


class Ends:
    def __init__(self, error: type[BaseException], *, at_close: bool = False) -> None:
        self.error, self.at_close, self.calls = error, at_close, 0

    def on_sample(self, sample: Sample) -> None:
        self.calls += 1
        if not self.at_close:
            raise self.error("out of here")

    def close(self) -> None:
        if self.at_close:
            raise self.error("out of here")


@pytest.mark.parametrize("at_close", [False, True])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_sink_that_wants_to_end_the_process_only_ends_itself(
    error: type[BaseException], at_close: bool, caplog: pytest.LogCaptureFixture
):
    ends, sink = Ends(error, at_close=at_close), ListSink()
    run(Monitor(None, QUIET, sinks=[ends, sink]))
    assert caplog.text.count("sink Ends failed and is switched off") == 1
    assert ends.calls == (20 if at_close else 1)
    assert len(sink.samples) == 20


def test_a_run_whose_directory_was_deleted_goes_on_in_a_new_one_and_can_be_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    curves = list(samples(healthy_run(400, seed=3)))
    run_dir = tmp_path / "run"
    monitor = Monitor(run_dir, QUIET)
    monitor.start()
    for sample in curves[:200]:
        monitor.observe(sample)
    shutil.rmtree(run_dir)
    assert monitor._log is not None
    monitor._log._next_look = 0.0  # as if a second had passed
    for sample in curves[200:300]:
        monitor.observe(sample)
    state = monitor.detector.state_dict()
    monitor.finish("crashed")
    assert caplog.text.count("was deleted while the run goes on") == 1
    assert [s.step for s in read_run(run_dir)][-100:] == [s.step for s in curves[200:300]]
    assert (run_dir / "config.yaml").exists()

    resumed = Monitor(run_dir, QUIET)
    resumed.start(curves[299].step)
    assert resumed.detector.state_dict() == state
    resumed.finish()


def test_a_handler_that_ends_the_run_in_the_middle_of_a_step_does_not_hang(tmp_path: Path):
    code = """
        import os, signal, sys
        from pretrain_monitor import ListSink, Monitor, Sample
        monitor = Monitor(sys.argv[1], {"console": {"enabled": False}, "tensorboard": {"enabled": False}},
                          sinks=[ListSink()])
        def end(*args):
            monitor.finish("interrupted")
            sys.exit(0)
        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        monitor.start()
        step = 0
        while True:
            step += 1
            monitor.observe(Sample(step, {"loss": 2.0}))
    """
    for attempt in range(3):
        where = tmp_path / str(attempt)
        subprocess.run([sys.executable, "-c", textwrap.dedent(code), where], check=True, timeout=60)
        assert len(list(read_run(where))) > 0
