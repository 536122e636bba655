"""Logs in which steps fall: a run that was resumed, several runs one after the other, and what is neither."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain_monitor import read_run
from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.notes import ReadNotes
from pretrain_monitor.readers.sessions import MOST_LATE


def csv(path: Path, *stretches: range, loss: float = 3.0) -> Path:
    """One row a step, the losses of each stretch a tenth higher."""
    lines = ["step,loss"]
    for number, stretch in enumerate(stretches):
        lines += [f"{step},{loss + number / 10}" for step in stretch]
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path | str) -> tuple[list[tuple[int, float]], ReadNotes]:
    notes = ReadNotes()
    return [(sample.step, round(sample.metrics["loss"], 1)) for sample in read_run(path, notes=notes)], notes


def test_a_resumed_run_takes_back_the_steps_that_it_trains_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = csv(tmp_path / "log.csv", range(1, 11), range(6, 13))
    with caplog.at_level(logging.WARNING):
        rows, notes = read(path)
    assert rows == [(step, 3.0) for step in range(1, 6)] + [(step, 3.1) for step in range(6, 13)]
    assert notes.resumed_after == [5]
    assert notes.sentences == ["resumed once; 5 rows of steps that were trained again are left out"]
    assert "resumed once" in caplog.text


def test_a_run_that_was_resumed_twice_from_ever_earlier(tmp_path: Path):
    rows, notes = read(csv(tmp_path / "log.csv", range(1, 21), range(11, 16), range(6, 9)))
    assert rows == [(step, 3.0) for step in range(1, 6)] + [(step, 3.2) for step in range(6, 9)]
    assert notes.resumed_after == [10, 5]


def test_of_several_runs_the_last_unless_another_is_asked_for(tmp_path: Path):
    path = csv(tmp_path / "log.csv", range(1, 16), range(1, 14), range(1, 19))
    rows, notes = read(path)
    assert rows == [(step, 3.2) for step in range(1, 19)]
    assert notes.sentences == [f"3 runs one after the other; this is number 3: give {path}#1 to {path}#3 for another"]
    assert read(f"{path}#2")[0] == [(step, 3.1) for step in range(1, 14)]
    assert read(f"{path}#1")[0] == [(step, 3.0) for step in range(1, 16)]
    with pytest.raises(LogError, match="there is no run 4 in this log: it has 3"):
        read(f"{path}#4")
    with pytest.raises(LogError, match="there is no run 0"):
        read(f"{path}#first")


def test_a_file_whose_name_holds_the_sign_is_itself(tmp_path: Path):
    assert read(csv(tmp_path / "log#2", range(1, 4)))[0] == [(1, 3.0), (2, 3.0), (3, 3.0)]


@pytest.mark.parametrize("form", ["jsonl", "text"])
def test_other_logs_of_lines_are_parted_alike(tmp_path: Path, form: str):
    steps = [*range(1, 9), *range(5, 11)]
    write = {"jsonl": lambda s: json.dumps({"step": s, "loss": 2.0}), "text": lambda s: f"step {s} loss 2.0"}[form]
    path = tmp_path / "log"
    path.write_text("".join(f"{write(step)}\n" for step in steps))
    rows, notes = read(path)
    assert [step for step, _ in rows] == list(range(1, 11)) and notes.resumed_after == [4]


def test_a_packed_log_is_parted_like_a_plain_one(tmp_path: Path):
    path = csv(tmp_path / "log.csv", range(1, 11), range(6, 13))
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed)[0] == read(path)[0] and len(read(packed)[0]) == 12


def test_a_job_that_has_logged_one_step_since_it_was_resumed(tmp_path: Path):
    assert [step for step, _ in read(csv(tmp_path / "a.csv", range(1, 101), range(51, 52)))[0]] == list(range(1, 52))
    rows, notes = read(csv(tmp_path / "b.csv", range(1, 101), range(51, 52), range(41, 46)))
    assert [step for step, _ in rows] == list(range(1, 46)) and notes.resumed_after == [50, 40]


def lines(path: Path, *rows: tuple[int, str, float]) -> Path:
    path.write_text("".join(json.dumps({"step": step, name: value}) + "\n" for step, name, value in rows))
    return path


def trained(*steps: int, loss: float = 3.0) -> list[tuple[int, str, float]]:
    return [(step, "loss", loss) for step in steps]


def values(path: Path) -> list[tuple[int, dict[str, float]]]:
    return [(sample.step, dict(sample.metrics)) for sample in read_run(path)]


def test_an_evaluation_that_comes_late_is_put_where_it_belongs(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = lines(
        tmp_path / "log", *trained(2, 4, 6, 8), (4, "eval_loss", 3.5), *trained(10), (5, "eval_loss", 3.4), *trained(12)
    )
    assert values(path) == [
        (2, {"loss": 3.0}), (4, {"loss": 3.0, "eval_loss": 3.5}), (5, {"eval_loss": 3.4}), (6, {"loss": 3.0}),
        (8, {"loss": 3.0}), (10, {"loss": 3.0}), (12, {"loss": 3.0}),
    ]  # fmt: skip
    assert not caplog.records


def test_of_very_many_late_rows_what_is_left_out_is_told(tmp_path: Path):
    path = lines(tmp_path / "log", *trained(1, 2), *[(1, "x", 1.0)] * (MOST_LATE + 1), *trained(3))
    rows, notes = read(path)
    assert len(rows) == 3
    assert notes.sentences == ["100,001 rows without a loss came after later steps: all but 100,000 are left out"]


def test_an_evaluation_of_steps_that_were_given_up_is_given_up_with_them(tmp_path: Path):
    path = lines(
        tmp_path / "log", *trained(*range(1, 11)), (4, "x", 1.0), (8, "x", 2.0), *trained(11, 12),
        (5, "x", 3.0), *trained(*range(6, 14), loss=2.0),
    )  # fmt: skip
    found = dict(values(path))
    # The one directly before the training goes on is the first thing that the resumed job did.
    assert {step: metrics["x"] for step, metrics in found.items() if "x" in metrics} == {4: 1.0, 5: 3.0}
    assert [metrics["loss"] for metrics in found.values()] == [3.0] * 5 + [2.0] * 8


def test_a_run_that_begins_with_an_evaluation_is_another_run(tmp_path: Path):
    path = lines(tmp_path / "log", *trained(1, 2, 3), (0, "x", 1.0), *trained(1, 2, loss=2.0))
    assert values(path) == [(0, {"x": 1.0}), (1, {"loss": 2.0}), (2, {"loss": 2.0})]
    assert values(f"{path}#1") == [(1, {"loss": 3.0}), (2, {"loss": 3.0}), (3, {"loss": 3.0})]  # type: ignore[arg-type]


def test_losses_of_several_processes_are_told(tmp_path: Path):
    rows, notes = read(lines(tmp_path / "log", *trained(1, 1, 2), *trained(2, loss=4.0)))
    assert rows == [(1, 3.0), (2, 4.0)]
    assert notes.sentences == ["2 times a step has one more loss, as of several processes; the last counts"]


@pytest.mark.parametrize(
    "steps", [[1, 2, 3, 2, 3, 1, 5], [5, 3], [1, 11, 2, 12, 3, 13], [*range(20), 9, *range(20, 40)]]
)
def test_rows_out_of_order_are_no_restart(tmp_path: Path, steps: list[int]):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n" + "".join(f"{step},2.0\n" for step in steps))
    with pytest.raises(LogError, match=r"steps go backwards at line .* neither runs one after the other nor"):
        read(path)


def test_a_pipe_is_read_once_and_says_what_to_do(tmp_path: Path):
    import os
    import threading

    path, pipe = csv(tmp_path / "log.csv", range(1, 6), range(3, 8)), tmp_path / "pipe"
    os.mkfifo(pipe)

    def written(file: Path) -> threading.Thread:
        writer = threading.Thread(target=pipe.write_text, args=(file.read_text(),))
        writer.start()
        return writer

    writer = written(path)
    with pytest.raises(LogError, match="save a pipe to a file first"):
        read(pipe)
    writer.join()
    assert len(read(path)[0]) == 7
    writer = written(lines(tmp_path / "late", *trained(1, 2, 3), (1, "x", 1.0), *trained(4)))
    rows, notes = read(pipe)
    writer.join()
    assert len(rows) == 4
    assert notes.sentences == ["1 row without a loss came after later steps: left out, for a pipe is read only once"]


def test_steps_that_only_rise_say_nothing(tmp_path: Path):
    rows, notes = read(csv(tmp_path / "log.csv", range(1, 100)))
    assert len(rows) == 99 and (notes.sentences, notes.resumed_after, notes.source) == ([], [], "table")


def test_fillers_are_counted(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss,grad_norm,x\n1,2,nan,nan\n2,2,1.5,nan\n3,2,nan,nan\n")
    samples = list(read_run(path, notes=(notes := ReadNotes())))
    assert "grad_norm" not in samples[0].metrics and str(samples[2].metrics["grad_norm"]) == "nan"
    assert notes.sentences == [
        "1 NaN before grad_norm was ever a number are taken as not recorded",
        "3 NaN for x, which never is a number are taken as not recorded",
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 50), stretches=st.lists(st.tuples(st.integers(0, 120), st.integers(15, 60)), max_size=5))
def test_what_is_left_is_what_a_book_of_steps_would_hold(tmp_path: Path, first: int, stretches: list[tuple[int, int]]):
    rows = [(step, 0.0) for step in range(first, first + 60)]
    for number, (start, count) in enumerate(stretches, 1):
        rows += [(step, float(number)) for step in range(start, start + count)]
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in rows))
    book: dict[int, float] = {}
    begun, last = first, first
    for step, loss in rows:
        if step < last:
            begun = step if step <= begun else begun
            book = {} if step <= begun else {known: value for known, value in book.items() if known < step}
        book[step], last = loss, step
    assert [(sample.step, sample.metrics["loss"]) for sample in read_run(path)] == sorted(book.items())
