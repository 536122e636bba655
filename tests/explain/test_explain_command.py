"""``pretrain-monitor explain`` as a real process."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND, cli, is_one_line
from eventful_runs import RUNS
from PIL import Image

from pretrain_monitor import Monitor, Sample, replay

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


def watched(run_dir: Path, stream: list[Sample], config: dict[str, object] | None = None) -> Path:
    monitor = Monitor(run_dir, {**QUIET, **(config or {})})
    monitor.start()
    for sample in stream:
        monitor.observe(sample)
    monitor.finish()
    return run_dir


def csv(path: Path, stream: list[Sample]) -> Path:
    names = list(stream[0].metrics)
    lines = [f"{s.step},{','.join(repr(s.metrics[name]) for name in names)}" for s in stream]
    path.write_text("\n".join([f"step,{','.join(names)}", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def second_event(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two alerts, loss-604 and loss-643."""
    return watched(tmp_path_factory.mktemp("runs") / "two", RUNS["second_event"][0]())


@pytest.fixture(scope="module")
def one_event(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of others with one incident, loss-601."""
    return csv(tmp_path_factory.mktemp("logs") / "log.csv", RUNS["bad_batch"][0]())


def test_an_incident_is_explained_under_the_id_that_the_run_log_gives_it(second_event: Path):
    events = [json.loads(line) for line in (second_event / "run.jsonl").read_text().splitlines()]
    ids = {record["incident_id"] for record in events if record["type"] == "event"}
    assert ids == {"loss-604", "loss-643"}
    for identity in ids:
        done = cli("explain", second_event, identity)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{identity}: ")
        assert "level chart of loss" in done.stdout
        assert "what to do" in done.stdout


def test_without_an_id_the_incidents_are_listed_with_what_to_type_next(second_event: Path):
    done = cli("explain", second_event)
    assert (done.returncode, done.stderr) == (0, "")
    assert "loss-604" in done.stdout
    command = done.stdout.splitlines()[-1].removeprefix("choose one: ").split()
    assert cli(*command[1:]).stdout.startswith("loss-")


def test_the_only_incident_needs_no_id(one_event: Path):
    done = cli("explain", one_event)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("loss-601: bad batch, info, recovered")


def test_a_step_finds_the_incident_there_or_the_nearest_and_says_so(second_event: Path):
    at = cli("explain", second_event, 620)
    assert (at.stderr, at.stdout.split(":")[0]) == ("", "loss-604")
    near = cli("explain", second_event, "1,100")
    assert near.returncode == 0
    assert near.stderr.startswith("no incident at step 1,100: this is the nearest")
    assert near.stdout.startswith("loss-643")


def test_picture_and_page_are_written_and_said(one_event: Path, tmp_path: Path):
    png, html = tmp_path / "why.png", tmp_path / "why.html"
    done = cli("explain", one_event, "--png", png, "--html", html)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [f"written: {png}", f"written: {html}"]
    with Image.open(png) as image:
        assert image.size[0] > 1000
    assert html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_settings_of_the_run_are_used_unless_others_are_given(tmp_path: Path):
    stream = RUNS["level_shift"][0]()
    run = watched(tmp_path / "run", stream, {"false_alarms_per_10k_steps": 30.0, "warmup_steps": 150})
    told = {i.id for i in replay(run, run / "config.yaml") if i.kind == "level_shift"}
    assert told != {i.id for i in replay(run, {}) if i.kind == "level_shift"}
    (identity,) = told
    done = cli("explain", run, identity)
    assert (done.returncode, done.stderr) == (0, "")
    assert cli("explain", run / "run.jsonl", identity).stdout == done.stdout

    config = tmp_path / "other.yaml"
    config.write_text("{}\n")
    gone = cli("explain", run, identity, "--config", config)
    assert gone.returncode == 2
    assert gone.stderr.startswith(f"not the incidents of the run log: without {identity}")
    strict = cli("explain", run, 810, "--false-alarms-per-10k", 0.01)
    assert strict.returncode == 0
    assert strict.stderr.startswith("not the incidents of the run log: without ")
    assert strict.stdout.split(":")[0] != identity


def test_what_was_announced_and_what_was_scheduled_take_part(tmp_path: Path):
    stream = RUNS["level_shift"][0]()
    monitor = Monitor(tmp_path / "announced", QUIET)
    monitor.start()
    for sample in stream:
        if sample.step == 800:
            monitor.announce("stage 2: code")
        monitor.observe(sample)
    monitor.finish()
    schedule = [{"step": 800, "note": "stage 2: code"}]
    scheduled = watched(tmp_path / "scheduled", stream, {"schedule": schedule})
    for run in (tmp_path / "announced", scheduled):
        done = cli("explain", run, 805)
        assert "explained by" in done.stdout
        assert "stage 2: code" in done.stdout
        assert "for information" in done.stdout


def test_a_run_that_was_resumed_is_explained_without_what_it_superseded(tmp_path: Path):
    stream = RUNS["level_shift"][0]()
    monitor = Monitor(tmp_path / "run", QUIET)
    monitor.start()
    for sample in stream[:700]:
        monitor.observe(Sample(sample.step, {"loss": 9.9 if sample.step > 650 else sample.metrics["loss"]}))
    monitor.finish()
    resumed = Monitor(tmp_path / "run", QUIET)
    resumed.start(600)
    for sample in stream[600:]:
        resumed.observe(Sample(sample.step, {"loss": sample.metrics["loss"]}))
    resumed.finish()
    done = cli("explain", tmp_path / "run", 805)
    assert (done.returncode, done.stderr) == (0, "")
    assert "9.9" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("loss-602",), "no incident loss-602; there is loss-601"),
        (("--", "-5"), "no incident -5"),
        (("--png", "/tmp/why.jpg"), "give a file that ends in .png"),
        (("--html", "/tmp/why.png"), "give a file that ends in .html"),
        (("--png", "/no/such/folder/why.png"), "the directory /no/such/folder does not exist"),
        (("--png", "/"), "give a file that ends in .png"),
        (("--config", "/no/such.yaml"), "no such config file"),
        (("--false-alarms-per-10k", "0"), "give a number from"),
        (("--png", "x" * 300 + ".png"), "cannot be written"),
        (("--html", "a\nb/c.html"), "does not exist"),
    ],
)
def test_a_users_mistake_is_one_line(one_event: Path, arguments: tuple[str, ...], said: str):
    assert is_one_line(cli("explain", one_event, *arguments), said)


def test_a_file_that_cannot_be_written_is_found_before_the_log_is_read(tmp_path: Path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert is_one_line(cli("explain", "/no/such/log.csv", "--png", folder), "a directory, not a file")


def test_a_full_disk_is_one_line(one_event: Path, tmp_path: Path):
    full = tmp_path / "why.png"
    full.symlink_to("/dev/full")
    done = cli("explain", one_event, "--png", full)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"step,loss\n5,1\n3,1\n", "steps go backwards"), (b"\x00\x01", "binary")],
)
def test_a_bad_log_is_one_line(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    assert is_one_line(cli("explain", path), said)
    assert is_one_line(cli("explain", path, "5"), said)


def test_a_run_log_whose_steps_go_backwards_is_one_line(tmp_path: Path):
    record = '{{"type":"sample","step":{},"metrics":{{"loss":2.0}}}}\n'
    (tmp_path / "run.jsonl").write_text('{"type":"run","version":1,"resumed_from":null}\n' + record.format(9) * 2)
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write(record.format(3))
    assert is_one_line(cli("explain", tmp_path), "steps go backwards")


def test_where_nothing_happened_there_is_nothing_to_explain(tmp_path: Path):
    quiet = tmp_path / "log.csv"
    quiet.write_text("step,loss\n" + "".join(f"{i},2.5\n" for i in range(300)))
    done = cli("explain", quiet)
    assert (done.returncode, done.stdout) == (0, f"{quiet}: no incidents\n")
    assert is_one_line(cli("explain", quiet, "loss-5"), "no incident loss-5: there are no incidents")
    (tmp_path / "run.jsonl").write_text('{"type":"run","version":1,"resumed_from":null}\n')
    done = cli("explain", tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}: no samples yet\n")
    assert is_one_line(cli("explain", tmp_path, "5"), "there are no incidents")


def test_which_incident_is_to_be_drawn_has_to_be_said(second_event: Path, tmp_path: Path):
    done = cli("explain", second_event, "--png", tmp_path / "why.png")
    assert (done.returncode, done.stderr) == (2, "error: nothing is drawn: say which incident\n")
    assert "loss-604" in done.stdout
    assert not (tmp_path / "why.png").exists()


def test_a_log_of_nothing_but_nan_is_explained(tmp_path: Path):
    done = cli("explain", csv(tmp_path / "log.csv", RUNS["nan_from_the_start"][0]()))
    assert (done.returncode, done.stderr) == (0, "")
    assert "loss was NaN at step 1" in done.stdout


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_refused_in_one_line(one_event: Path, name: str):
    with one_event.open("rb") as log:
        done = subprocess.run([*COMMAND, "explain", name], stdin=log, capture_output=True, text=True, timeout=60)
    assert is_one_line(done, "standard input", "save it first")


def test_a_pipe_is_refused_and_a_gzipped_file_is_read(one_event: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert is_one_line(cli("explain", tmp_path / "pipe"), "save it first")
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(one_event.read_bytes()))
    assert cli("explain", packed).stdout == cli("explain", one_event).stdout


def test_a_missing_package_is_named_with_what_to_install(one_event: Path, tmp_path: Path):
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("matplotlib", "plotly"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from pretrain_monitor.cli import main
main()
"""
    for option, package, file in (("--png", "matplotlib", "why.png"), ("--html", "plotly", "why.html")):
        command = [sys.executable, "-c", code, "explain", str(one_event), option, str(tmp_path / file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert is_one_line(done, f"{option} needs {package}: pip install 'pretrain-monitor[report]'")
    without = subprocess.run(
        [sys.executable, "-c", code, "explain", str(one_event)], capture_output=True, text=True, timeout=60
    )
    assert (without.returncode, without.stderr) == (0, "")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_what_is_piped_is_no_wider_than_asked_for_and_has_no_colours(one_event: Path, columns: int):
    environment = {**os.environ, "COLUMNS": str(columns)}
    done = subprocess.run([*COMMAND, "explain", str(one_event)], capture_output=True, text=True, env=environment)
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert "\x1b" not in done.stdout


def test_a_terminal_that_knows_only_ascii_gets_ascii(one_event: Path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "explain", str(one_event)], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u" not in done.stdout
    done.stdout.decode("ascii")


def test_a_reader_that_goes_away_is_no_error(one_event: Path):
    process = subprocess.Popen(
        [*COMMAND, "explain", str(one_event)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert errors == ""


def test_signals_with_strange_names_are_explained(tmp_path: Path):
    stream = RUNS["bad_batch"][0]()
    name = "[red]x[/red]\x1b[2J/<b>&$_"
    run = watched(tmp_path / "run", [Sample(s.step, {"loss": 2.5, name: s.metrics["loss"] ** 3}) for s in stream])
    incidents = replay(run)
    assert incidents[0].signals == (name,)
    done = cli("explain", run, incidents[0].onset_step, "--html", tmp_path / "why.html", "--png", tmp_path / "why.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


def test_the_log_is_not_drawn_over_by_any_of_its_names(tmp_path: Path):
    run = watched(tmp_path / "run", RUNS["level_shift"][0](), {})
    log = run / "run.jsonl"
    before = log.read_bytes()
    soft, hard, table = tmp_path / "soft.png", tmp_path / "hard.html", tmp_path / "log.html"
    soft.symlink_to(log)
    hard.hardlink_to(log)
    table.write_text("step,loss\n1,nan\n")
    for arguments in ((run, 800, "--png", soft), (run, 800, "--html", hard), (table, 1, "--html", table)):
        done = cli("explain", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "this is the log itself" in done.stderr and done.stderr.count("\n") == 1
    assert log.read_bytes() == before
    assert table.read_text() == "step,loss\n1,nan\n"


def test_a_step_that_no_float_can_count_up_from_is_drawn(tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text("step,loss\n50000000000000000,nan\n")
    done = cli("explain", log, "--png", tmp_path / "a.png", "--html", tmp_path / "a.html")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_who_goes_away_is_no_error(tmp_path: Path):
    run = watched(tmp_path / "run", RUNS["level_shift"][0](), {})
    for command in ("explain", "replay"):
        shell = f"set -o pipefail; {shlex.join([*COMMAND, command, str(run)])} | head -1"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1


def test_settings_of_something_else_beside_a_log_are_refused_with_a_way_out(tmp_path: Path):
    (tmp_path / "run.jsonl").write_text('{"step":1,"loss":1.0}\n{"step":2,"loss":"NaN"}\n')
    (tmp_path / "config.yaml").write_text("model: llama\n")
    for command in ("explain", "replay"):
        done = cli(command, tmp_path / "run.jsonl")
        assert done.returncode == 2
        assert "unknown setting 'model'" in done.stderr and "give --config FILE" in done.stderr
