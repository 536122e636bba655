from __future__ import annotations

import time
from pathlib import Path

import pytest
from event_files import read_cards, read_scalars
from test_telemetry import an_incident
from torch.utils.tensorboard import SummaryWriter
from watched_runs import troubled_run, watch

from pretrain_monitor import Event, Sample
from pretrain_monitor.config import TensorBoardConfig
from pretrain_monitor.telemetry import Change
from pretrain_monitor.tensorboard.panels import open_panels

STEPS, SPIKE = 400, 300


def test_everything_goes_into_the_trainers_run_beside_its_own_curves(tmp_path: Path):
    writer = SummaryWriter(str(tmp_path / "hf"))
    for step in range(10, STEPS + 1, 10):
        writer.add_scalar("train/loss", -1.0, step)
    watch(troubled_run(STEPS, seed=0, spikes={SPIKE: 0.8}), tmp_path / "run", summary_writer=writer._get_file_writer())
    writer.add_scalar("train/loss", -1.0, STEPS + 10)  # still open: it is the trainer's
    writer.close()
    series = read_scalars(tmp_path / "hf")
    assert {value for _, value in series["train/loss"]} == {-1.0}
    assert [step for step, _ in series["monitor/train/loss"]] == list(range(1, STEPS + 1))
    assert {"monitor/trend/loss/upper", "monitor/incident/loss"} <= series.keys()
    assert read_scalars(tmp_path / "hf" / "alerts")["monitor/train/loss"][0][0] == SPIKE
    assert "monitor/incidents/alerts" in read_cards(tmp_path / "hf")
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert len(list((tmp_path / "hf").glob("*tfevents*"))) == 1


def test_what_is_told_after_the_trainer_has_closed_its_writer_is_not_lost(tmp_path: Path):
    writer = SummaryWriter(str(tmp_path))
    sink = open_panels(TensorBoardConfig(), None, writer._get_file_writer(), 0)
    sink.on_sample(Sample(1, {"loss": 2.0}))
    writer.close()
    sink.on_event(Event(1, "x", Change.CLOSED, an_incident(id="x")))
    sink.close()
    assert read_cards(tmp_path)["monitor/incidents/alerts"][0][0] == 1
    assert read_scalars(tmp_path)["monitor/train/loss"] == [(1, 2.0)]


def test_the_shared_file_is_flushed_although_the_trainer_would_wait_for_minutes(tmp_path: Path):
    writer = SummaryWriter(str(tmp_path), flush_secs=3600)
    sink = open_panels(TensorBoardConfig(flush_secs=0.2), None, writer._get_file_writer(), 0)
    for step in range(1, 20):
        sink.on_sample(Sample(step, {"loss": 2.0}))
        time.sleep(0.05)
    assert len(read_scalars(tmp_path)["monitor/train/loss"]) >= 10
    sink.close()
    writer.close()


def test_the_users_choice_not_to_share_is_obeyed(tmp_path: Path):
    writer = SummaryWriter(str(tmp_path / "hf"))
    config = TensorBoardConfig(share_writer=False)
    sink = open_panels(config, tmp_path / "run", writer._get_file_writer(), 0)
    sink.on_sample(Sample(1, {"loss": 2.0}))
    sink.close()
    writer.close()
    assert read_scalars(tmp_path / "run" / "tensorboard")["train/loss"] == [(1, 2.0)]
    assert read_scalars(tmp_path / "hf") == {}
    assert open_panels(config, None, writer._get_file_writer(), 0) is None


def test_without_a_place_nothing_is_drawn_and_nothing_is_said(caplog: pytest.LogCaptureFixture):
    assert open_panels(TensorBoardConfig(), None, None, 0) is None
    assert not caplog.records


def test_a_place_that_cannot_be_written_is_told_once_and_costs_only_the_drawing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "tensorboard").write_text("a file where a directory should be")
    assert open_panels(TensorBoardConfig(), tmp_path, None, 0) is None
    assert [record.getMessage() for record in caplog.records] == ["nothing is drawn in TensorBoard; training goes on"]
