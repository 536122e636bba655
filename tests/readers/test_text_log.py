"""What training programs print, in the forms of several of them."""

from __future__ import annotations

import contextlib
import gzip
import math
import time
from pathlib import Path

import pytest

from pretrain_monitor import read_run
from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.notes import ReadNotes
from pretrain_monitor.readers.text_lines import row_in

# One line of each program, and what it says.
LINES = {
    "megatron": (
        " [2025-03-01 10:00:00] iteration       12/  500000 | consumed samples:         6144 | elapsed time per"
        " iteration (ms): 2901.4 | learning rate: 1.5E-07 | global batch size:   512 | lm loss: 1.0921E+01 |"
        " loss scale: 1.0 | grad norm: 3.402 | number of skipped iterations:   0 | number of nan iterations:   0 |",
        {"step": "12", "learning_rate": "1.5E-07", "loss": "1.0921E+01", "loss_scale": "1.0", "grad_norm": "3.402"},
    ),
    "nanogpt": ("iter 100: loss 4.1234, time 123.45ms, mfu 12.30%", {"step": "100", "loss": "4.1234"}),
    "nanogpt, evaluation": ("step 250: train loss 3.1001, val loss 3.2002", {"step": "250", "val_loss": "3.2002"}),
    "modded-nanogpt": (
        "step:100/1750 train_loss:4.1200 train_time:9153ms step_avg:91.53ms", {"step": "100", "loss": "4.1200"}
    ),
    "llm.c": (
        "step    7/19560 | loss 10.953 (+nanz)| norm 15.3625 (+nanz)| lr 8.57e-07 | 1234.56 ms | 50.2% bf16 MFU |"
        " 423456 tok/s",
        {"step": "7", "loss": "10.953", "grad_norm": "15.3625", "learning_rate": "8.57e-07"},
    ),
    "llm.c, main.log": (
        "s:100 trl:6.5012 lr:0.000086 norm:2.41", {"step": "100", "loss": "6.5012", "learning_rate": "0.000086",
                                                   "grad_norm": "2.41"},
    ),
    "build-nanogpt": (
        "step     3 | loss: 9.512345 | lr 2.5175e-06 | norm: 6.1234 | dt: 402.11ms | tok/sec: 1303921.44",
        {"step": "3", "loss": "9.512345", "learning_rate": "2.5175e-06", "grad_norm": "6.1234"},
    ),
    "build-nanogpt, log.txt": ("250 train 5.123456", {"step": "250", "loss": "5.123456"}),
    "torchtitan": (
        "[titan] 2025-03-01 10:00:00,123 - root - INFO - \x1b[31mstep:  1  \x1b[32mloss: 12.2557  \x1b[38;2;180;60;0m"
        "grad_norm:  3.1200  \x1b[33mmemory:  9.53GiB(30.1%)  \x1b[34mtps: 1,234  \x1b[0m",
        {"step": "1", "loss": "12.2557", "grad_norm": "3.1200"},
    ),
    "torchtitan, validation": (
        "[titan] 2025-03-01 10:00:00,123 - root - INFO - validate step: 40  loss:  7.1234  memory:  9.53GiB(30.1%)",
        {"step": "40", "val_loss": "7.1234"},
    ),
    "megatron, validation": (
        " validation loss at iteration 1000 on validation set | lm loss value: 2.801234E+00 | lm loss PPL: 1.6E+01 | ",
        {"step": "1000", "val_loss": "2.801234E+00"},
    ),
    "nemo": (
        "Training epoch 1, iteration 21/99 | lr: 3e-05 | consumed_samples: 122 | global_batch_size: 1 |"
        " global_step: 121 | reduced_train_loss: 1.288 | train_step_timing in s: 0.03163 | val_loss: 4.106",
        {"step": "121", "learning_rate": "3e-05", "loss": "1.288", "val_loss": "4.106"},
    ),
    "a NaN": ("step 5 loss nan grad_norm inf", {"step": "5", "loss": "nan", "grad_norm": "inf"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_what_a_line_says(name: str):
    line, expected = LINES[name]
    assert row_in(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "loading data from step 3",
        "epoch 3 took 12.5s",
        "loss 3.2",
        "step 1.5 loss 3.2",
        "aux loss 3.1 step two",
        "[2025-03-01 10:00:00] using world size: 8, data-parallel-size: 8",
        "",
    ],
)
def test_a_line_without_a_step_or_a_signal_is_passed_over(line: str):
    assert row_in(line) is None


def test_a_printed_log_is_read_with_all_that_is_around_it(tmp_path: Path):
    lines = ["tokens per iteration will be: 32,768", "compiling the model... (takes a ~minute)"]
    for step in range(0, 30, 10):
        lines.append(f"step {step}: train loss {4.0 - step / 100:.4f}, val loss {4.1 - step / 100:.4f}")
        lines += [f"iter {k}: loss {4.0 - k / 100:.4f}, time 101.22ms, mfu 11.02%" for k in range(step, step + 10)]
    path = tmp_path / "train.log"
    path.write_text("\n".join(lines) + "\nsaving checkpoint to out\n")
    found = list(read_run(path))
    assert [sample.step for sample in found] == list(range(30))
    assert [sample.metrics["loss"] for sample in found] == [round(4.0 - k / 100, 4) for k in range(30)]
    assert [sample.step for sample in found if "val_loss" in sample.metrics] == [0, 10, 20]


def test_the_first_line_counts_and_a_progress_bar_writes_over_itself(tmp_path: Path):
    path = tmp_path / "train.log.gz"
    text = "step 1 | loss: 3.0\nstep 2 | loss: nan\r 10%|# | step 3 | loss: 2.9\r 20%|## | step 4 | loss: 2.8\n"
    path.write_bytes(gzip.compress(text.encode()))
    found = [(sample.step, sample.metrics["loss"]) for sample in read_run(path)]
    assert [step for step, _ in found] == [1, 2, 3, 4]
    assert [loss for _, loss in found if not math.isnan(loss)] == [3.0, 2.9, 2.8]


def test_text_without_a_step_and_a_loss_is_refused_as_before(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_text("it was a dark and stormy night\nstep 3: the val loss 3.2 of sleep\n")
    with pytest.raises(LogError, match="no step column; the header has 'it was a dark and stormy night'"):
        list(read_run(path))


def test_text_without_an_end_is_not_read_for_ever(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_text("nothing\n" * 20_001 + "step 1 loss 2.0\n")
    with pytest.raises(LogError, match="no step column"):
        list(read_run(path))


def test_steps_that_go_backwards_are_said_with_their_line(tmp_path: Path):
    path = tmp_path / "twice.log"
    path.write_text("step 5 loss 3.0\nstep 6 loss 3.0\nlate\nstep 4 loss 3.0\nstep 7 loss 3.0\n")
    with pytest.raises(LogError, match="steps go backwards at line 4: 4 after 6"):
        list(read_run(path))


def test_of_a_number_with_commas_no_half_is_read(tmp_path: Path):
    assert row_in("step 12,500/100,000 | loss: 3.25 | grad norm: 1,234.5 | total tokens 1,048,576") == {
        "step": "12500", "loss": "3.25", "grad_norm": "1234.5", "tokens_seen": "1048576",
    }  # fmt: skip
    path = tmp_path / "train.log"
    path.write_text("step 1 loss 9.25\nstep 2 loss 9,12\n")
    with pytest.raises(LogError, match="line 2: loss '9,12' is not a number: a comma may stand for decimals"):
        list(read_run(path))


@pytest.mark.parametrize(
    "line",
    [
        "step 1 loss {}x",
        "step 1 {{'loss': {}x}}",
        "[step=1,\n    train/CrossEntropyLoss={}x",
        "step 1 loss 1,{}x",
        "step 1 loss {}",
    ],
)
def test_a_long_row_of_digits_takes_no_time(line: str, tmp_path: Path):
    path = tmp_path / "train.log"
    path.write_text("step 1 loss 2.0\n" + line.format("1" * 300_000) + "\nstep 2 loss 2.0\n")
    start = time.process_time()
    with contextlib.suppress(LogError):
        assert len(list(read_run(path))) >= 1
    assert time.process_time() - start < 5  # tried at all lengths it takes an hour


def test_lines_that_are_passed_over_are_counted(tmp_path: Path):
    path = tmp_path / "train.log"
    path.write_text("hello\n\nstep 1 loss 3.0\nsaving\nstep 2 loss 3.0\n")
    list(read_run(path, notes=(notes := ReadNotes())))
    assert notes.sentences == ["2 of 5 lines hold no step with a signal and are passed over"]


def test_bytes_that_a_killed_program_leaves_are_passed_over(tmp_path: Path):
    path = tmp_path / "train.log"
    path.write_bytes(
        "step 1 loss 3.0\n10%|█".encode()[:-1] + b"\rstep 2 loss 2.5\n" + bytes(3000) + b"step 3 loss 2.0\n"
    )
    notes = ReadNotes()
    assert [sample.step for sample in read_run(path, notes=notes)] == [1, 2, 3]
    assert "2 lines hold bytes that are no UTF-8 text; the rest of them is read" in notes.sentences
    pattern = r"step (?P<global_step>\d+) loss (?P<loss>\S+)"
    with pytest.raises(LogError, match="no group named step"):
        read_run(path, pattern=pattern)
    assert len(list(read_run(path, pattern=pattern.replace("global_", "")))) == 3


def test_groups_of_a_pattern_have_the_names_that_columns_have(tmp_path: Path):
    path = tmp_path / "train.log"
    path.write_text("1 3.0 0.5 1e-4 7\n2 - 0.5 1e-4 7\n")
    pattern = r"(?P<step>\d+) (?P<loss>[\d.]+)? ?-? ?(?P<gradient_norm>\S+) (?P<lr>\S+) (?P<other>\S+)"
    first, second = read_run(path, pattern=pattern)
    assert first.metrics == {"loss": 3.0, "grad_norm": 0.5, "learning_rate": 1e-4, "other": 7.0}
    assert second.metrics == {"grad_norm": 0.5, "learning_rate": 1e-4, "other": 7.0}
    with pytest.raises(LogError, match="it has two columns for grad_norm: 'gradient_norm' and 'total_grad_norm'"):
        read_run(path, pattern=pattern.replace("other", "total_grad_norm"))


def test_what_holds_no_lines_takes_no_pattern(tmp_path: Path):
    (tmp_path / "run.jsonl").write_text('{"type":"run","version":1,"resumed_from":null}\n')
    with pytest.raises(LogError, match="run log, no lines of text: it is read without a pattern"):
        read_run(tmp_path, pattern=r"(?P<step>\d+) (?P<loss>\S+)")
