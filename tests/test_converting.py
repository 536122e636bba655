from __future__ import annotations

from pathlib import Path

import pytest
from command import cli, is_one_line
from curves import healthy_run

from pretrain_monitor import audit_run, read_run, replay
from pretrain_monitor.config import ConfigError
from pretrain_monitor.converting import convert_log
from pretrain_monitor.readers import LogError


def table(path: Path, rows: int = 1500) -> Path:
    run = healthy_run(rows, seed=3)
    run["loss"][900:920] *= 1.5
    lines = [
        f"{at + 1},{loss},{norm}" for at, (loss, norm) in enumerate(zip(run["loss"], run["grad_norm"], strict=True))
    ]
    path.write_text("step,train_loss,grad_norm\n" + "\n".join(lines) + "\n")
    return path


def test_a_converted_log_has_the_same_samples_and_incidents(tmp_path: Path):
    log = table(tmp_path / "log.csv")
    assert convert_log(log, tmp_path / "run") == 1500
    assert list(read_run(tmp_path / "run")) == list(read_run(log))
    ours = [incident.to_json() for incident in replay(log)]
    assert ours and [incident.to_json() for incident in replay(tmp_path / "run")] == ours
    audit = audit_run(tmp_path / "run")
    assert audit.incidents == ours
    # A log does not say how its run ended, and a copy of it no more.
    assert audit.finding("evidence/ended").value is None and audit.run.end_reason == "converted from table"


def test_a_directory_with_a_run_in_it_is_left_alone(tmp_path: Path):
    log = table(tmp_path / "log.csv")
    convert_log(log, tmp_path / "run")
    before = (tmp_path / "run" / "run.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="there is a run in it already"):
        convert_log(log, tmp_path / "run")
    assert (tmp_path / "run" / "run.jsonl").read_bytes() == before


def test_a_log_that_breaks_off_says_so_in_what_was_written(tmp_path: Path):
    log = table(tmp_path / "log.csv", 100)
    log.write_text(log.read_text() + "101,high,1\n")
    with pytest.raises(LogError, match="line 102"):
        convert_log(log, tmp_path / "run")
    assert len(list(read_run(tmp_path / "run"))) == 100
    assert audit_run(tmp_path / "run").finding("evidence/ended").passed is False


def test_the_command(tmp_path: Path):
    log = table(tmp_path / "log.csv")
    done = cli("convert", log, tmp_path / "run")
    assert (done.returncode, done.stdout) == (0, f"1,500 samples written: {tmp_path / 'run'}\n")
    assert is_one_line(cli("convert", log, tmp_path / "run"), "there is a run in it already")
    assert is_one_line(cli("convert", tmp_path / "nowhere", tmp_path / "other"), "nowhere")
    assert is_one_line(cli("convert", log, log / "under"), "log.csv")
    assert not (tmp_path / "other").exists()
