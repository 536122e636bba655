"""The command line, as a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import COMMAND, cli
from curves import healthy_run, samples

from pretrain_monitor import Incident, Monitor, replay

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run as our run directory and as a CSV."""
    folder = tmp_path_factory.mktemp("logs")
    run = healthy_run(700, seed=1)
    run["loss"][400:420] *= 1.5
    run["loss"][600] = np.nan
    stream = list(samples(run))
    monitor = Monitor(folder / "run", QUIET)
    monitor.start()
    for sample in stream:
        monitor.observe(sample)
    monitor.finish()
    with (folder / "log.csv").open("w") as file:
        file.write("step,loss,grad_norm,learning_rate\n")
        for s in stream:
            values = ",".join(repr(s.metrics[name]) for name in ("loss", "grad_norm", "learning_rate"))
            file.write(f"{s.step},{values}\n")
    return {"run": folder / "run", "csv": folder / "log.csv"}


def test_replay_prints_one_incident_object_per_line(eventful: dict[str, Path]):
    done = cli("replay", eventful["run"], "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["kind"] for record in records] == ["spike", "nonfinite"]
    assert list(records[0]) == list(Incident.__dataclass_fields__)
    assert [repr(Incident.from_json(r)) for r in records] == [repr(i) for i in replay(eventful["run"])]


def test_replay_of_a_csv_gives_what_the_loop_gave(eventful: dict[str, Path]):
    outputs = [cli("replay", eventful[kind], "--format", "jsonl").stdout for kind in ("run", "csv")]
    assert outputs[0] == outputs[1] != ""


def test_replay_shows_a_table_for_people(eventful: dict[str, Path]):
    out = cli("replay", eventful["csv"]).stdout
    assert "spike" in out
    assert "critical" in out
    assert "2 alerts, 0 for information" in out


def test_the_table_has_the_ids_that_explain_takes_and_leaves_the_messages_room_at_100_columns(
    eventful: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "100")
    lines = cli("replay", eventful["csv"]).stdout.splitlines()
    ids = [incident.id for incident in replay(eventful["csv"])]
    assert [line.split()[0] for line in lines if line.startswith("loss-")] == ids
    assert max(map(len, lines)) <= 100
    assert 100 - lines[0].index("what happened") >= 45


def test_replay_of_a_quiet_log_says_so(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n" + "".join(f"{i},2.5\n" for i in range(300)))
    done = cli("replay", path)
    assert (done.returncode, "no incidents" in done.stdout) == (0, True)
    assert cli("replay", path, "--format", "jsonl").stdout == ""


def test_the_knob_reaches_the_detector(eventful: dict[str, Path], tmp_path: Path):
    config = tmp_path / "monitor.yaml"
    config.write_text("ignore_signals: [loss]\n")
    assert cli("replay", eventful["csv"], "--config", config, "--format", "jsonl").stdout == ""
    noise = tmp_path / "noise.csv"
    losses = healthy_run(4000, seed=3)["loss"].tolist()
    noise.write_text("step,loss\n" + "".join(f"{i},{loss}\n" for i, loss in enumerate(losses)))
    quiet, loud = (cli("replay", noise, "--false-alarms-per-10k", x, "--format", "jsonl") for x in (0.1, 500))
    assert len(loud.stdout.splitlines()) > len(quiet.stdout.splitlines())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"step,accuracy\n1,2\n", "no loss column"),
        (b"step,loss\n5,1\n3,1\n", "steps go backwards"),
        (b"step,loss\n1,\xff\n", "UTF-8"),
        (b"some words\nand more words\n", "no step column"),
        (b"\x00\x01\x02", "binary"),
    ],
)
def test_a_bad_log_is_one_clear_line_and_exit_code_2(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    done = cli("replay", path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "/no/such/log.csv"),
        ("replay", "log.csv", "--config", "/no/such.yaml"),
        ("replay", "log.csv", "--false-alarms-per-10k", "0"),
        ("watch", "/no/such/run"),
        ("tensorboard", "/no/such/run"),
        ("probe", "/no/such/model", "--probes", "quick"),
        ("probe", "/no/such/model", "--probes", "/no/such.yaml"),
        ("probe", "/no/such/model", "--probes", "qick"),
        ("probe", "/no/such/model", "--probes", "quick", "--json", "/no/such/file.json"),
        ("probe", "/no/such/model", "--probes", "quick", "--reference", "/no/such/file.json"),
        ("probe", "/no/such/model", "--probes", "quick", "--device", "abacus"),
    ],
)
def test_a_users_mistake_is_exit_code_2_without_a_traceback(arguments: tuple[str, ...]):
    done = cli(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("replay",), ("reply", "x"), ("replay", "x", "--format", "xml")])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]):
    done = cli(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [(), ("replay",), ("explain",), ("probe",), ("watch",), ("tensorboard",), ("demo",)]
)
def test_help_is_there_for_every_command(command: tuple[str, ...]):
    done = cli(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_reader_that_goes_away_is_no_error(eventful: dict[str, Path]):
    replay_ = subprocess.Popen(
        [*COMMAND, "replay", str(eventful["run"])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert replay_.stdout is not None
    replay_.stdout.close()
    _, errors = replay_.communicate(timeout=60)
    assert errors == ""


NO_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "lightning", "tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from pretrain_monitor.cli import main
main()
"""


def test_replay_works_without_torch(eventful: dict[str, Path]):
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, "replay", str(eventful["run"])], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "spike" in done.stdout


def test_a_probe_without_torch_says_what_to_install(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, "probe", str(tmp_path), "--probes", "quick"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == "error: probe needs torch: pip install 'pretrain-monitor[huggingface]'\n"


def test_replay_uses_the_settings_the_run_was_watched_with(tmp_path: Path):
    run = healthy_run(900, seed=2)
    run["loss"][600:] *= 1.06
    quiet = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
    told = {}
    for rate in (1e-4, 30.0):
        monitor = Monitor(tmp_path / str(rate), {**quiet, "false_alarms_per_10k_steps": rate})
        monitor.start()
        for sample in samples(run):
            monitor.observe(sample)
        monitor.finish()
        told[rate] = [repr(incident) for incident in monitor.incidents]
        for path in (tmp_path / str(rate), tmp_path / str(rate) / "run.jsonl"):
            assert sorted(repr(incident) for incident in replay(path)) == sorted(told[rate])
    assert told[1e-4] != told[30.0]
    asked = replay(tmp_path / "0.0001", {"false_alarms_per_10k_steps": 30.0})
    assert sorted(repr(incident) for incident in asked) == sorted(told[30.0])
