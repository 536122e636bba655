from __future__ import annotations

import math
import time
from itertools import islice
from pathlib import Path

import pytest
from event_files import read_cards, read_scalars
from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator
from watched_runs import troubled_run, watch

RESUMED_AFTER, SUPERSEDED_SPIKE, KILLED_AFTER, SPIKE, STEPS = 300, 350, 400, 450, 600


def resumed_run(run_dir: Path) -> None:
    """A run that spikes at 350 and is resumed after step 300; then it spikes at 450 instead."""
    watch(islice(troubled_run(STEPS, seed=0, spikes={SUPERSEDED_SPIKE: 0.8}), KILLED_AFTER), run_dir)
    # TensorBoard reads the files of a run in the order of their names, which hold the second in which they were made.
    time.sleep(1.1)
    watch(troubled_run(STEPS, seed=1, spikes={SPIKE: 0.8}), run_dir, step=RESUMED_AFTER)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("resumed")
    resumed_run(run_dir)
    return run_dir / "tensorboard"


def loaded(logdir: Path) -> EventAccumulator:
    """As the plain loader of TensorBoard, which obeys the session log, sees one run."""
    return EventAccumulator(str(logdir), size_guidance={SCALARS: 0, TENSORS: 0}).Reload()


def test_steps_that_a_resume_supersedes_are_not_shown(logdir: Path):
    scalars = loaded(logdir)
    losses = {event.step: event.value for event in scalars.Scalars("train/loss")}
    assert [event.step for event in scalars.Scalars("train/loss")] == list(range(1, STEPS + 1))
    written = read_scalars(logdir)["train/loss"]
    assert losses[SUPERSEDED_SPIKE] == written[-(STEPS - SUPERSEDED_SPIKE) - 1][1]
    assert losses[SUPERSEDED_SPIKE] != dict(written[:KILLED_AFTER])[SUPERSEDED_SPIKE]


def test_alerts_that_a_resume_supersedes_are_not_shown(logdir: Path):
    points = [e.step for e in loaded(logdir / "alerts").Scalars("train/loss") if math.isfinite(e.value)]
    assert points
    assert min(points) == SPIKE
    incidents = {e.step: e.value for e in loaded(logdir).Scalars("incident/loss")}
    assert {step for step, level in incidents.items() if level > 0} <= set(range(SPIKE, STEPS))


def test_cards_say_that_the_run_was_resumed(logdir: Path):
    cards = read_cards(logdir)["incidents/alerts"]
    assert (RESUMED_AFTER + 1, "Resumed after step 300.") in cards
    assert read_cards(logdir)["incidents/all"][-1][1].startswith("### 1 alert, 0 info, steps 301 to 600")


def test_a_run_directory_used_for_a_fresh_run_shows_the_fresh_run_only(tmp_path: Path):
    watch(troubled_run(80, seed=0, spikes={}), tmp_path)
    time.sleep(1.1)
    watch(troubled_run(50, seed=1, spikes={}), tmp_path)
    assert [event.step for event in loaded(tmp_path / "tensorboard").Scalars("train/loss")] == list(range(1, 51))
