from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from curves import healthy_run, samples

from pretrain_monitor import InstabilityDetector, Monitor, MonitorConfig
from pretrain_monitor.records import read_samples
from pretrain_monitor.run_settings import load_own_settings
from pretrain_monitor.viewing.expected import Band, ExpectedInLog, draw_band
from pretrain_monitor.viewing.summary import RunSummary

CONFIG = {"console": {"enabled": False}, "tensorboard": {"enabled": False}, "snapshot_steps": 500}


def watched(run_dir: Path, n: int, *, seed: int = 0, step: int = 0, to: int | None = None) -> Path:
    monitor = Monitor(run_dir, CONFIG)
    monitor.start(step)
    for sample in samples(healthy_run(n, seed=seed)):
        if step < sample.step <= (to or n):
            monitor.observe(sample)
    monitor.finish()
    return run_dir / "run.jsonl"


def summary_of(path: Path) -> RunSummary:
    summary = RunSummary(path)
    while summary.read():
        pass
    return summary


def by_hand(path: Path) -> dict[int, tuple[float, float, float]]:
    detector = InstabilityDetector(load_own_settings(path))
    bands = {}
    for sample in read_samples(path):
        detector.update(sample)
        if (band := detector.band("loss")) is not None:
            bands[sample.step] = band
    return bands


def check(found: Band, expected: dict[int, tuple[float, float, float]], first: int, last: int) -> None:
    steps = [step for step in expected if first <= step <= last]
    assert found.steps.tolist() == steps
    wanted = np.array([expected[step] for step in steps])
    np.testing.assert_allclose(found.expected, wanted[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.lower, wanted[:, 1], rtol=1e-6)
    np.testing.assert_allclose(found.upper, wanted[:, 2], rtol=1e-6)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return watched(tmp_path_factory.mktemp("bands"), 2600)


@pytest.mark.parametrize(("first", "last"), [(1, 2600), (1200, 1300), (2400, 2600), (1, 100)])
def test_any_stretch_has_the_band_that_the_detector_had_there(log: Path, first: int, last: int):
    expected = ExpectedInLog(summary_of(log), load_own_settings(log))
    while expected.advance(first, last):
        pass
    check(expected.band("loss", first, last), by_hand(log), first, last)


def test_a_long_look_replays_the_last_stretches_first(log: Path):
    expected = ExpectedInLog(summary_of(log), load_own_settings(log))
    while not len(expected.band("loss", 1, 2600).steps):
        expected.advance(1, 2600)
    assert expected.band("loss", 1, 2600).steps[0] > 2000


def test_a_band_goes_on_with_the_run(tmp_path: Path):
    stream = list(samples(healthy_run(900, seed=1)))
    monitor = Monitor(tmp_path, CONFIG)
    monitor.start()
    summary = RunSummary(tmp_path / "run.jsonl")
    expected = ExpectedInLog(summary, MonitorConfig.model_validate(CONFIG))
    for sample in stream:
        monitor.observe(sample)
        if sample.step % 100 == 0:
            summary.read()
            while expected.advance(1, sample.step):
                pass
            found = expected.band("loss", 1, sample.step)
            assert not len(found.steps) or found.steps[-1] == sample.step
    monitor.finish()
    check(expected.band("loss", 1, 900), by_hand(tmp_path / "run.jsonl"), 1, 900)


def test_steps_that_were_taken_back_have_the_band_of_those_that_replaced_them(tmp_path: Path):
    path = watched(tmp_path, 1400)
    summary = summary_of(path)
    expected = ExpectedInLog(summary, load_own_settings(path))
    while expected.advance(1, 1400):
        pass
    watched(tmp_path, 1400, seed=7, step=700, to=1100)
    summary.read()
    while expected.advance(1, 1100):
        pass
    check(expected.band("loss", 1, 1400), by_hand(path), 1, 1100)


def test_snapshots_of_other_settings_are_not_used(log: Path):
    config = load_own_settings(log).model_copy(update={"memory_steps": 64})
    expected = ExpectedInLog(summary_of(log), config)
    while expected.advance(2000, 2600):
        pass
    detector = InstabilityDetector(config)
    for sample in read_samples(log):
        detector.update(sample)
    assert expected.band("loss", 2600, 2600).expected[0] == pytest.approx(detector.band("loss")[0], rel=1e-6)  # type: ignore[index]


def test_a_drawn_band_holds_every_band_of_its_column():
    steps = np.arange(10_000)
    width = 1 + np.random.default_rng(0).random(10_000)
    drawn = draw_band(Band(steps, np.zeros(10_000), -width, width), 100)
    assert len(drawn.steps) <= 101
    assert drawn.upper.max() == width.max()
    assert (drawn.upper >= -drawn.lower - 1e-12).all()
