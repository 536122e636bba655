"""Resume: the detector is a pure function of the samples, wherever the run was interrupted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from curves import detect, healthy_run, samples

from pretrain_monitor import InstabilityDetector, ListSink, Monitor, Sample, read_run, replay

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


def eventful_run(n: int = 900) -> list[Sample]:
    run = healthy_run(n, seed=1)
    run["loss"][300:320] *= 1.4
    run["grad_norm"][300:310] *= 6
    run["loss"][500] = np.nan
    run["loss"][640:] *= 1.2
    return list(samples(run))


def observe(monitor: Monitor, stream: list[Sample]) -> None:
    for sample in stream:
        monitor.observe(sample)


@pytest.mark.parametrize("cut", [1, 47, 48, 49, 120, 201, 304, 331, 505, 700, 899])
def test_a_detector_restored_from_json_goes_on_as_if_nothing_had_happened(cut: int):
    stream = eventful_run()
    whole, _ = detect(stream)
    first = InstabilityDetector()
    events = [event for sample in stream[:cut] for event in first.update(sample)]
    second = InstabilityDetector()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())), first.incidents)
    events += [event for sample in stream[cut:] for event in second.update(sample)]
    events += second.finish()
    assert [repr(event) for event in events] == [repr(event) for event in whole]


@pytest.mark.parametrize(("restored", "killed"), [(310, 350), (502, 502), (600, 660), (250, 300)])
def test_a_killed_and_resumed_run_gives_the_incidents_of_an_uninterrupted_one(
    tmp_path: Path, restored: int, killed: int
):
    stream = eventful_run()
    whole = Monitor(tmp_path / "whole", QUIET)
    whole.start()
    observe(whole, stream)
    whole.finish()

    config = {**QUIET, "snapshot_steps": 100}
    killed_one = Monitor(tmp_path / "run", config)
    killed_one.start()
    observe(killed_one, stream[:killed])
    killed_one._log.close()  # type: ignore[union-attr]  # what a kill does: no finish, the lock is gone

    sink = ListSink()
    resumed = Monitor(tmp_path / "run", config, sinks=[sink])
    resumed.start(restored)
    assert resumed.detector.last_step == restored
    observe(resumed, stream[restored:])
    resumed.finish()

    assert [s.step for s in read_run(tmp_path / "run")] == [s.step for s in stream]
    assert [repr(i) for i in resumed.incidents] == [repr(i) for i in whole.incidents]
    assert [repr(i) for i in replay(tmp_path / "run")] == [repr(i) for i in replay(tmp_path / "whole")]
    assert min(sample.step for sample in sink.samples) == restored + 1, "the past is not told again"


def test_live_incidents_equal_those_of_a_replay_of_the_log(tmp_path: Path):
    monitor = Monitor(tmp_path, QUIET)
    monitor.start()
    observe(monitor, eventful_run())
    monitor.finish()
    assert len(monitor.incidents) >= 3
    by_onset = sorted(monitor.incidents, key=lambda i: (i.onset_step, i.detected_step))
    assert [repr(i) for i in replay(tmp_path)] == [repr(i) for i in by_onset]


def test_a_fresh_run_in_a_used_directory_starts_afresh(tmp_path: Path):
    for loss in (2.0, 3.0):
        monitor = Monitor(tmp_path, QUIET)
        monitor.start()
        observe(monitor, [Sample(step, {"loss": loss}) for step in range(1, 11)])
        monitor.finish()
    assert [s.metrics["loss"] for s in read_run(tmp_path)] == [3.0] * 10


def test_changed_settings_replay_the_run_instead_of_using_a_snapshot(tmp_path: Path):
    stream = eventful_run()
    first = Monitor(tmp_path, {**QUIET, "snapshot_steps": 100})
    first.start()
    observe(first, stream[:700])
    first.finish()
    resumed = Monitor(tmp_path, {**QUIET, "false_alarms_per_10k_steps": 0.1})
    resumed.start(700)
    observe(resumed, stream[700:])
    resumed.finish()
    assert [repr(i) for i in resumed.incidents] == [
        repr(i) for i in detect(stream, {"false_alarms_per_10k_steps": 0.1})[1]
    ]


def test_a_snapshot_of_another_version_is_not_used_but_the_run_replayed(tmp_path: Path):
    stream = eventful_run()
    config = {**QUIET, "snapshot_steps": 100}
    first = Monitor(tmp_path, config)
    first.start()
    observe(first, stream[:450])
    first._log.close()  # type: ignore[union-attr]
    log = tmp_path / "run.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    snapshots = [line for line in lines if line["type"] == "snapshot"]
    assert snapshots
    for snapshot in snapshots:
        snapshot["state"] = {"bank": "as an earlier version kept it"}
    log.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))

    second = Monitor(tmp_path, config)
    second.start(450)
    observe(second, stream[450:])
    second.finish()
    _, incidents = detect(stream)
    assert [repr(i) for i in second.incidents] == [repr(i) for i in incidents]


def test_tokens_go_on_where_they_were(tmp_path: Path):
    first = Monitor(tmp_path, QUIET)
    first.start()
    assert first.tokens_seen == 0
    observe(first, [Sample(step, {"loss": 2.0}, tokens_seen=100 * step) for step in range(1, 11)])
    first.finish()
    resumed = Monitor(tmp_path, QUIET)
    resumed.start(6)
    assert resumed.tokens_seen == 600
    resumed.finish()
    elsewhere = Monitor(tmp_path / "new", QUIET)
    elsewhere.start(6)
    assert elsewhere.tokens_seen is None, "nobody knows what the first six steps saw"
    elsewhere.finish()


def test_a_log_that_cannot_be_understood_does_not_stop_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "run.jsonl").write_text('{"type":"sample","step":1,"metrics":"no mapping"}\n')
    monitor = Monitor(tmp_path, QUIET)
    monitor.start(5)
    observe(monitor, [Sample(6, {"loss": 2.0})])
    monitor.finish()
    assert "dropped 1 records that are no samples" in caplog.text
    assert '"step":6' in (tmp_path / "run.jsonl").read_text()


def test_resuming_a_long_run_takes_about_a_second(tmp_path: Path):
    # 30,000 steps with a snapshot 9,999 steps before the end: the worst case of the default interval.
    stream = list(samples(healthy_run(29_999, seed=2)))
    first = Monitor(tmp_path, QUIET)
    first.start()
    observe(first, stream)
    first.finish()
    resumed = Monitor(tmp_path, QUIET)
    began = time.process_time()
    resumed.start(29_999)
    took = time.process_time() - began
    resumed.finish()
    assert took < 4.0, "about 0.9 s on an idle core; the bound leaves room for a busy one"
