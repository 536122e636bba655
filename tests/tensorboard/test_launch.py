from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from browser import free_port

from pretrain_monitor.tensorboard.launch import (
    HOST,
    LaunchError,
    charts_url,
    end,
    run_tensorboard,
    start_tensorboard,
    tensorboard_command,
    tensorboard_url,
)


def test_the_flags_keep_every_spike_and_every_card_visible():
    command = tensorboard_command("runs/x", 6007, ["--window_title", "x"])
    flags = dict(zip(command[3::2], command[4::2], strict=True))
    assert flags["--logdir"] == "runs/x"
    assert flags["--port"] == "6007"
    assert flags["--window_title"] == "x"
    assert float(flags["--reload_interval"]) >= 1
    samples = dict(part.split("=") for part in flags["--samples_per_plugin"].split(","))
    assert int(samples["scalars"]) >= 500_000
    assert int(samples["text"]) >= 1000


def test_it_listens_to_this_machine_only():
    command = tensorboard_command("runs/x")
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--bind_all" not in command


def test_the_page_is_our_tab_and_the_others_are_without_smoothing():
    assert tensorboard_url(6007) == "http://127.0.0.1:6007/?smoothing=0#pretrain_monitor"
    assert charts_url(6007) == "http://127.0.0.1:6007/?smoothing=0#custom_scalars&_smoothingWeight=0"


def test_a_directory_that_is_not_there_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert run_tensorboard(tmp_path / "nowhere") == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such directory\n"


def test_a_directory_with_nothing_to_show_is_refused_and_a_run_log_is_enough(tmp_path: Path):
    with pytest.raises(LaunchError, match=r"no run log and no TensorBoard event files there$"):
        start_tensorboard(tmp_path)
    (tmp_path / "run.jsonl").touch()
    end(start_tensorboard(tmp_path, free_port()))


def test_a_port_in_use_is_refused_before_anything_is_started(tmp_path: Path):
    (tmp_path / "events.out.tfevents.0").touch()
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port} is in use"):
            start_tensorboard(tmp_path, port)


def test_a_flag_that_tensorboard_refuses_is_told_instead_of_waited_for(tmp_path: Path):
    (tmp_path / "events.out.tfevents.0").touch()
    with pytest.raises(LaunchError, match="ended with exit code"):
        start_tensorboard(tmp_path, free_port(), ["--no-such-flag"])


WITHOUT_TENSORBOARD = """
import logging, sys
from pathlib import Path
sys.modules["tensorboard"] = None  # as if it were not installed
logging.basicConfig(format="%(levelname)s %(message)s")
from pretrain_monitor import Monitor, Sample
from pretrain_monitor.tensorboard.launch import run_tensorboard
monitor = Monitor(sys.argv[1], {"console": {"enabled": False}})
for step in range(1, 4):
    monitor.observe(Sample(step, {"loss": 2.0}))
monitor.finish()
raise SystemExit(run_tensorboard(sys.argv[1]))
"""


def test_without_tensorboard_the_run_goes_on_and_one_line_says_what_to_install(tmp_path: Path):
    command = [sys.executable, "-c", WITHOUT_TENSORBOARD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.splitlines() == [
        "WARNING nothing is drawn in TensorBoard: pip install 'pretrain-monitor[tensorboard]'",
        "error: TensorBoard is not installed: pip install 'pretrain-monitor[tensorboard]'",
    ]
    assert done.returncode == 2
    assert (tmp_path / "run.jsonl").read_text().count('"type":"sample"') == 3
