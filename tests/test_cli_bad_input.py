"""What a user may get wrong on the command line, and what may be wrong with a log, in real processes."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
from pathlib import Path

import pytest
from command import COMMAND, cli, is_one_line

from pretrain_monitor.cli import RATES
from pretrain_monitor.config import ConfigError, load_config
from pretrain_monitor.demo import run_demo

CSV = b"step,loss\n1,2.5\n2,nan\n"
RUN = b'{"type":"run","version":1,"resumed_from":null,"time":1.0}\n'
RESUMED = (
    b'{"type":"sample","step":2,"metrics":{"loss":"NaN"}}\n'
    b'{"type":"run","version":1,"resumed_from":1}\n'
    b'{"type":"sample","step":2,"metrics":{"loss":2.0}}\n'
)


def piped(data: bytes, *arguments: object, shell: str | None = None) -> subprocess.CompletedProcess[bytes]:
    command = COMMAND if shell is None else ["bash", "-c", f'"$@" {shell}', "bash", *COMMAND]
    return subprocess.run([*command, *map(str, arguments)], input=data, capture_output=True, timeout=60)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize(
    "data",
    [CSV, gzip.compress(CSV), b'{"step": 2, "loss": NaN}\n', RUN + RESUMED[:52]],
    ids=["csv", "gzip", "jsonl", "run log"],
)
def test_replay_reads_standard_input(data: bytes, name: str):
    done = piped(data, "replay", name)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"became NaN at step 2" in b" ".join(done.stdout.split())


def test_replay_reads_what_another_program_writes_into_a_pipe(tmp_path: Path):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(CSV))
    done = piped(b"", "replay", shell=f"<(gzip -dc {tmp_path / 'log.csv.gz'})")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"1 alert" in done.stdout


def test_a_run_log_from_a_pipe_leaves_out_superseded_steps_as_one_from_a_file_does(tmp_path: Path):
    (tmp_path / "run.jsonl").write_bytes(RUN + RESUMED)
    from_file, from_pipe = cli("replay", tmp_path), piped(RUN + RESUMED, "replay", "-")
    assert from_file.stdout == f"{tmp_path}: no incidents\n"
    assert from_pipe.stdout == b"-: no incidents\n"


@pytest.mark.parametrize("command", ["replay", "watch"])
@pytest.mark.parametrize("kind", ["device", "socket", "directory with a pipe"])
def test_what_is_no_log_at_all_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command, kind):
    monkeypatch.chdir(tmp_path)
    path = Path("/dev/zero")
    if kind == "socket":
        path = Path("socket")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("socket")
    elif kind == "directory with a pipe":
        path = tmp_path
        os.mkfifo("run.jsonl")
    assert is_one_line(cli(command, path, timeout=30), str(path))


def test_watch_refuses_a_pipe_and_names_the_command_that_reads_it(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert is_one_line(cli("watch", tmp_path / "pipe", timeout=30), "only a regular file", "replay")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"step,loss\n", "a header and no rows"),
        (b"step,loss\n1,\n2,\n", "the loss column is empty in every row"),
        (b"step;loss\n1;3,21\n", "loss '3,21' is not a number: a comma"),
        (b"PAR1" + bytes(90), "a damaged Parquet file"),
        (b"\x18" + bytes(7) + b"\xa3\x7fK\"\t\0\0\xc0.e\xddA\x1a\rbrain.Event:2\xec", "TensorBoard event file"),
        (b'{"step": 1, "loss\\u001b[31m\\ud800": 2}\n', "no loss column; the lines have 'step', 'loss\\x1b[31m"),
        (b'{"step": 1, "loss": "' + b"9" * 5000 + b'x"}\n', "is not a number"),
        (b'{"type":"event","step":1}\n', "holds no sample"),
    ],
)  # fmt: skip
def test_a_log_that_holds_nothing_to_judge_is_an_error(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "log"
    path.write_bytes(content)
    done = cli("replay", path)
    assert is_one_line(done, said, str(path))
    assert len(done.stderr) < 500


def test_a_run_that_has_only_begun_is_no_error(tmp_path: Path):
    (tmp_path / "run.jsonl").write_bytes(RUN)
    table, lines, watched = (
        cli("replay", tmp_path),
        cli("replay", tmp_path, "--format", "jsonl"),
        cli("watch", tmp_path, "--once"),
    )
    assert (table.returncode, table.stdout) == (0, f"{tmp_path}: no samples yet\n")
    assert (lines.returncode, lines.stdout, lines.stderr) == (0, "", f"{tmp_path}: no samples yet\n")
    assert (watched.returncode, watched.stdout) == (0, f"{tmp_path / 'run.jsonl'}: no samples yet\n")


def test_names_of_signals_reach_the_terminal_without_control_characters(tmp_path: Path):
    (tmp_path / "log.jsonl").write_text(
        '{"step": 1, "loss": 2.0, "\\u001b[31m\\ud800": 1.0}\n{"step": 2, "loss": 2.0, "\\u001b[31m\\ud800": NaN}\n'
    )
    done = cli("replay", tmp_path / "log.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[31m became NaN at step 2" in " ".join(done.stdout.split())
    assert "\x1b" not in done.stdout


def test_a_path_that_is_too_long_or_goes_in_circles_is_one_short_line(tmp_path: Path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert is_one_line(cli("replay", tmp_path / "loop"), "symbolic links")
    done = cli("replay", tmp_path / ("x" * 5000))
    assert is_one_line(done, "xxx...xxx", "name too long")
    assert len(done.stderr) < 400


@pytest.mark.parametrize("rate", ["nan", "inf", "0", "-1", "1001"])
def test_a_rate_that_cannot_be_is_refused_with_the_range(tmp_path: Path, rate: str):
    (tmp_path / "log.csv").write_bytes(CSV)
    done = cli("replay", tmp_path / "log.csv", f"--false-alarms-per-10k={rate}")
    assert is_one_line(done, f"--false-alarms-per-10k {rate}: give a number from 1e-06 to 1,000")


def test_the_range_of_the_rate_is_the_one_of_the_setting():
    for rate in RATES:
        assert load_config({"false_alarms_per_10k_steps": rate})
    for rate in (RATES[0] / 1.01, RATES[1] * 1.01):
        with pytest.raises(ConfigError):
            load_config({"false_alarms_per_10k_steps": rate})


@pytest.mark.parametrize("every", ["nan", "inf", "0", "-1"])
def test_a_pause_that_cannot_be_is_refused_with_the_range(tmp_path: Path, every: str):
    (tmp_path / "run.jsonl").write_bytes(RUN)
    done = cli("watch", tmp_path, f"--every={every}", timeout=30)
    assert is_one_line(done, f"--every {every}: give the seconds between two looks, from 0.1 to 3,600")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--steps", 10**12), "--steps 1000000000000 is too long for a demo; give at most 100,000"),
        (("--steps", 0), "--steps 0 is too short"),
        (("--steps", -3), "--steps -3 is too short"),
        (("--seed", -1), "--seed -1 cannot be used; give one from 0 to 4,294,967,295"),
        (("--fault", "nan", "--run-dir", __file__), f"--run-dir {__file__}: is a file, not a directory"),
        (("--fault", "nan", "--run-dir", f"{__file__}/run"), "Not a directory"),
    ],
)
def test_a_demo_that_cannot_be_run_is_refused_before_anything_is_loaded(arguments: tuple[object, ...], said: str):
    assert is_one_line(cli("demo", *arguments, timeout=60), said)


def test_a_step_more_than_the_longest_demo_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run_demo("torch", "none", 100_001, tmp_path / "run") == 2
    assert "at most 100,000" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "log.csv").write_bytes(CSV)
    done = piped(b"", "replay", tmp_path / "log.csv", shell="> /dev/full")
    assert (done.returncode, done.stderr) == (2, b"error: the output cannot be written: No space left on device\n")
