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
