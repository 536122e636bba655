"""The command itself: tables, Markdown, and mistakes told in one line with exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus_folder import label, write_corpus

from benchmarks.detection.__main__ import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    loss = 3 * np.exp(0.01 * rng.standard_normal(1200))
    loss[600:620] *= 1.4
    text = "step,loss\n" + "".join(f"{k + 1},{value:.5f}\n" for k, value in enumerate(loss))
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", {"x_1": (text, [label(601, 620)])})


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_one_command_prints_and_writes_a_table_with_the_commit_and_versions(folder, tmp_path, capsys):
    report = tmp_path / "report.md"
    chosen = ("--only", "pretrain", "nan-only", "--jobs", 1)
    assert run("--corpus", folder, "--data", "natural", *chosen, "--markdown", report) == 0
    printed, written = capsys.readouterr().out, report.read_text()
    assert "pretrain-monitor" in printed and "nan-only" in printed
    assert "| pretrain-monitor | live | default | 1.00 | 1.00 | 1.00 [1.00, 1.00] | 1/1 | 0.00 |" in written
    assert "| nan-only | live | default | - | .00 | .00 [.00, .00] | 0/1 | 0.00 |" in written
    assert "at most 0.5 false episodes per 10k rows" in written
    assert "Commit " in written and "numpy " in written


def test_halves_are_told_by_the_names_of_their_sources_and_add_up_to_the_whole(folder, tmp_path):
    text = (folder / "curves" / "x_1.csv").read_text()
    two = write_corpus(tmp_path / "c", {"x_1": (text, [label(601, 620)]), "y_1": (text, [label(1100, 1110)])})
    report = tmp_path / "report.md"
    arguments = ("--data", "natural", "--only", "pretrain", "--jobs", 1, "--matched", 0, "--halves")
    assert run("--corpus", two, *arguments, "--markdown", report) == 0
    written = report.read_text()
    titles = [line for line in written.splitlines() if line.startswith("###") and "default settings" in line]
    assert [title.split(": ")[0] for title in titles] == [
        "### Natural events of real curves",
        "### Natural events of real curves, only someone/x",
        "### Natural events of real curves, only someone/y",
    ]
    assert "1 curves of 1 sources, 1,200 rows, 1 event that must be found" in titles[1]
    hits = [line.split(" | ")[6] for line in written.splitlines() if line.startswith("| pretrain-monitor |")]
    assert hits == ["1/2", "1/1", "0/1"]
    offline = [line for line in written.splitlines() if line.startswith("| pretrain-monitor offline |")]
    assert [line.split(" | ")[6] for line in offline] == ["1/2", "1/1", "0/1"]


def test_bad_batches_are_counted_on_labels_on_healthy_runs_and_planted_in_clean_stretches(tmp_path):
    loss = 3 * np.exp(0.01 * np.random.default_rng(0).standard_normal(2000))
    loss[1000] *= 1.4
    text = "step,loss\n" + "".join(f"{k + 1},{value:.5f}\n" for k, value in enumerate(loss))
    folder = write_corpus(tmp_path / "c", {"x_1": (text, [label(1001, 1001, False, cause="bad_batch")])})
    report = tmp_path / "report.md"
    arguments = ("--data", "bad_batches", "--only", "pretrain", "--jobs", 1, "--markdown", report)
    assert run("--corpus", folder, *arguments) == 0
    rows = [line.strip("| ").split(" | ") for line in report.read_text().splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == [
        "Natural events of real curves",
        "Healthy small trainings",
        "Planted, 6-10 sd",
        "Planted, 10-20 sd",
        "Planted, 20-40 sd",
    ]
    assert rows[2][1:3] + rows[2][4:] == ["2,000", "1", "0.00", "1", "1", "0", "0"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", "artificial"), "invalid choice: 'artificial'"),
        (("--only", "oracle"), 'no detector is called "oracle"'),
        (("--data", "natural", "--only", "nan-only", "--corpus", "/nowhere"), "/nowhere is no corpus"),
        (("--jobs", "0"), "--jobs needs at least 1 process, got 0"),
        (("--jobs", "many"), "invalid int value: 'many'"),
        (("--markdown", "/nowhere/report.md"), "there is no folder /nowhere"),
        (("--colour",), "unrecognized arguments: --colour"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(arguments, told, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_calibration_without_a_corpus_is_that_of_the_formulas_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.detection.datasets.DEFAULT_FOLDER", tmp_path / "corpus")
    monkeypatch.setattr("benchmarks.detection.calibration._RUN_STEPS", 400)
    monkeypatch.setattr("benchmarks.detection.calibration.STEPS", {3.0: 400})
    report = tmp_path / "report.md"
    arguments = ("--corpus", tmp_path / "corpus", "--data", "calibration", "--only", "nan-only", "--jobs", 1)
    assert run(*arguments, "--markdown", report) == 0
    written = report.read_text()
    assert "| noise | asked 3 |" in written
    assert "| Gaussian |" in written and "| real curves |" not in written
    assert "without real curves: needs a corpus" in written


def test_without_a_corpus_beside_the_project_its_data_sets_are_skipped_with_one_line(tmp_path, monkeypatch, capsys):
    missing = tmp_path / "shared" / "corpus"
    monkeypatch.setattr("benchmarks.detection.datasets.DEFAULT_FOLDER", missing)
    assert run("--corpus", missing, "--data", "natural", "injected", "--only", "nan-only") == 0
    skipped = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert [line.split(":")[0] for line in skipped] == ["natural", "injected"]
