"""``pretrain-monitor audit`` as a real process: exit codes, files, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from audit_runs import table, watched
from command import cli, is_one_line
from curves import healthy_run
from models_on_disk import save_model
from probe_rounds import probe_rounds

LIMITS = """
checks:
  stability/incidents: {need: required, at_most: 0}
  stability/lingering_damage: {need: required, at_most: 1}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    watched(folder / "sound", healthy_run(1500, seed=1, noise=0.01), probe_rounds(8, seed=1, every=200))
    damaged = healthy_run(1500, seed=1, noise=0.01)
    damaged["loss"][900:] *= 1.2
    watched(folder / "damaged", damaged)
    table(folder / "log.csv", damaged)
    (folder / "limits.yaml").write_text(LIMITS)
    return folder


def test_a_gate_lets_the_ready_through_and_no_other(runs: Path):
    sound = cli("audit", runs / "sound", "--criteria", runs / "limits.yaml")
    assert (sound.returncode, sound.stderr) == (0, ""), sound.stderr
    assert "ready" in sound.stdout.lower() and "not ready" not in sound.stdout.lower()
    damaged = cli("audit", runs / "damaged", "--criteria", runs / "limits.yaml")
    assert damaged.returncode == 1
    assert "not ready" in damaged.stdout.lower() and "20" in damaged.stdout
    nobody_knows = cli("audit", runs / "log.csv", "--criteria", "production")
    assert nobody_knows.returncode == 1


def test_reports_are_written_and_say_the_same(runs: Path, tmp_path: Path):
    html, text, record = tmp_path / "a.html", tmp_path / "a.md", tmp_path / "a.json"
    done = cli("audit", runs / "damaged", "--html", html, "--markdown", text, "--json", record)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("written: ")] == [
        f"written: {html}", f"written: {text}", f"written: {record}"
    ]  # fmt: skip
    audit = json.loads(record.read_text())
    assert (audit["format"], audit["verdict"], audit["criteria"]) == ("pretrain-monitor audit", "not ready", "research")
    assert "level_shift" in {incident["kind"] for incident in audit["incidents"]}
    for page in (html.read_text(), text.read_text()):
        assert "not ready" in page.lower() and "damaged" in page


def test_two_runs_are_held_against_each_other(runs: Path, tmp_path: Path):
    record = tmp_path / "a.json"
    cli("audit", runs / "damaged", "--against", runs / "sound", "--json", record)
    audit = json.loads(record.read_text())
    assert audit["against"]["name"] == "sound"
    assert {one["check"]: one["value"] for one in audit["findings"]}["data/same_step"] == 0.0


def test_a_model_at_hand_is_measured(runs: Path, tmp_path: Path):
    model = save_model(tmp_path / "model", step=1500)
    record = tmp_path / "a.json"
    done = cli("audit", runs / "sound", "--model", model, "--probes", "quick", "--json", record, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    audit = json.loads(record.read_text())
    level = next(one for one in audit["findings"] if one["check"] == "held_out/level")
    assert {row[0] for row in level["table"]["rows"]} >= {"code", "prose"}
    assert any("model" in note for note in audit["run"]["notes"])


def test_what_cannot_be_done_is_said_in_one_line(runs: Path, tmp_path: Path):
    log = runs / "log.csv"
    (tmp_path / "empty.csv").write_text("")
    assert is_one_line(cli("audit", tmp_path / "empty.csv"), "empty")
    assert is_one_line(cli("audit", tmp_path / "nowhere"), "nowhere", "no such file")
    assert is_one_line(cli("audit", log, "--criteria", "strict"), "strict", "research")
    assert is_one_line(cli("audit", log, "--against", tmp_path / "nowhere"), "nowhere")
    assert is_one_line(cli("audit", log, "--model", tmp_path), "model")
    assert is_one_line(cli("audit", log, "--html", tmp_path / "a.txt"), "--html", ".html")
    assert is_one_line(cli("audit", log, "--json", tmp_path / "no" / "a.json"), "--json", "does not exist")
    assert is_one_line(cli("audit", log, "--markdown", log), "--markdown", ".md")
    assert is_one_line(cli("audit", log, "--model", runs / "sound", "--probes", "qick"), "qick")


def test_nothing_that_is_read_is_written_over(runs: Path, tmp_path: Path):
    checkpoint = tmp_path / "hf" / "checkpoint-300"
    checkpoint.mkdir(parents=True)
    state = checkpoint / "trainer_state.json"
    entries = [{"step": step, "loss": 3.0, "grad_norm": 1.0} for step in range(1, 301)]
    state.write_text(json.dumps({"global_step": 300, "log_history": entries}, indent=1))
    before = state.read_bytes()
    assert is_one_line(cli("audit", tmp_path / "hf", "--json", state), "read by this command")
    assert is_one_line(cli("audit", f"{state}#1", "--json", state), "read by this command")
    assert state.read_bytes() == before
    # A new file in the directory that is read is what people want.
    assert cli("audit", runs / "sound", "--json", runs / "sound" / "audit.json").returncode in (0, 1)


def test_where_one_is_can_be_audited(runs: Path):
    from forked import forker

    done = forker("pretrain_monitor.cli").run(
        "pretrain_monitor.cli:main", ["audit", "."], cwd=runs / "sound", timeout=120
    )
    assert done.returncode == 0 and "sound" in done.stdout, done.stderr


def test_odd_criteria_are_one_line(runs: Path, tmp_path: Path):
    log = runs / "log.csv"
    (tmp_path / "itself.yaml").write_text("checks: &a\n  stability/incidents: *a\n")
    (tmp_path / "true.yaml").write_text("checks:\n  stability/incidents: {need: required, at_most: true}\n")
    assert is_one_line(cli("audit", log, "--criteria", tmp_path / "itself.yaml"), "itself.yaml")
    assert is_one_line(cli("audit", log, "--criteria", tmp_path / "true.yaml"), "at_most")
    assert is_one_line(cli("audit", log, "--criteria", "/dev/zero"), "no regular file")
    assert is_one_line(cli("audit", log, "--probes", "quick"), "--model")
