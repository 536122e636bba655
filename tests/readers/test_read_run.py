from __future__ import annotations

import math
from pathlib import Path

import pytest

from pretrain_monitor import Sample, read_run, replay
from pretrain_monitor.readers import LogError


def written(tmp_path: Path, text: str | bytes, name: str = "log.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_is_read_with_its_optional_signals(tmp_path: Path):
    path = written(tmp_path, "step,loss,grad_norm,learning_rate\n1,3.5,0.5,1e-4\n2,3.4,,2e-4\n")
    assert list(read_run(path)) == [
        Sample(1, {"loss": 3.5, "grad_norm": 0.5, "learning_rate": 1e-4}),
        Sample(2, {"loss": 3.4, "learning_rate": 2e-4}),
    ]


def test_jsonl_is_read_flat_and_with_metrics_of_its_own(tmp_path: Path):
    path = written(tmp_path, '{"step": 1, "loss": 3.5}\n\n{"step": 2, "metrics": {"loss": "NaN"}, "tokens_seen": 64}\n')
    first, second = read_run(path)
    assert first == Sample(1, {"loss": 3.5})
    assert math.isnan(second.metrics["loss"])
    assert second.tokens_seen == 64


@pytest.mark.parametrize(
    "header", ["step,loss", "global_step,train_loss", "iter,train/loss", "iteration,lm_loss", " step , loss "]
)
def test_the_usual_names_of_step_and_loss_are_understood(tmp_path: Path, header: str):
    assert [s.metrics for s in read_run(written(tmp_path, f"{header}\n5,2.5\n"))] == [{"loss": 2.5}]


def test_windows_line_ends_a_byte_order_mark_and_blank_lines_are_legal(tmp_path: Path):
    path = written(tmp_path, b"\xef\xbb\xbfstep,loss\r\n1,2.5\r\n\r\n2,2.4\r\n")
    assert [s.step for s in read_run(path)] == [1, 2]


def test_rows_of_one_step_are_joined_as_some_loggers_write_one_per_signal(tmp_path: Path):
    path = written(tmp_path, "step,loss,eval_loss\n1,2.5,\n2,2.4,\n2,,2.6\n3,2.3,\n")
    assert [(s.step, dict(s.metrics)) for s in read_run(path)] == [
        (1, {"loss": 2.5}), (2, {"loss": 2.4, "eval_loss": 2.6}), (3, {"loss": 2.3}),
    ]  # fmt: skip


def test_a_nan_loss_is_an_event_and_a_norm_that_was_never_measured_is_none(tmp_path: Path):
    path = written(tmp_path, "step,loss,grad_norm\n1,2.5,nan\n2,nan,nan\n3,2.4,nan\n")
    incidents = replay(path)
    assert [(i.kind.value, i.onset_step, i.signals) for i in incidents] == [("nonfinite", 2, ("loss",))]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the log is empty"),
        ("\n\n", "the log is empty"),
        ("step,accuracy\n1,0.5\n", "no loss column; the header has 'step', 'accuracy'"),
        ("loss,accuracy\n1,0.5\n", "no step column"),
        ("Training started.\nstep 1 of 10, loss 2.5\n", "no step column"),
        ("step,loss\n5,2.0\n3,2.0\n", "steps go backwards at line 3: 3 after 5"),
        ("step,loss\n1,2.0\n2,high\n", "line 3: loss 'high' is not a number"),
        ("step,loss\none,2.0\n", "line 2: step 'one' is not a whole number"),
        ("step,loss\n1.5,2.0\n", "step '1.5' is not a whole number"),
        (f"step,loss\n{10**30},2.0\n", "is not a whole number"),
        (f"step,loss\n1,2.0\n2,{'9' * 140_000}\n", "not a CSV file"),
        ('{"step": 1, "loss": ' + "1" * 401 + "}\n", "is not a number"),
        (b"step,loss\n1,2.0\n2,\xff\xfe\n", "line 3 is not UTF-8 text"),
        (b"\x00\x01\x02\x03" * 40, "binary file"),
        ('{"step": 1, "loss": 2.0}\nnot json\n', "line 2 is not JSON"),
        ('{"step": 1, "accuracy": 2.0}\n', "no loss column"),
        ('{"step": 1, "loss": 2.0}\n[1, 2]\n', "line 2 is not a JSON object"),
    ],
)
def test_a_log_that_cannot_be_used_is_one_line_with_its_name(tmp_path: Path, content: str | bytes, said: str):
    path = written(tmp_path, content)
    with pytest.raises(LogError) as error:
        list(read_run(path))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_log_that_is_not_there_a_directory_without_one_and_an_unreadable_one_are_told(tmp_path: Path):
    with pytest.raises(LogError, match="no such file"):
        read_run(tmp_path / "nothing.csv")
    with pytest.raises(LogError, match=r"no run\.jsonl in this directory"):
        read_run(tmp_path)
    with pytest.raises(LogError, match="cannot be read"):
        list(read_run(Path("/proc/self/mem")))


def test_reading_is_streamed(tmp_path: Path):
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("step,loss\n")
        file.writelines(f"{i},2.0\n" for i in range(200_000))
    first = next(iter(read_run(path)))
    assert first.step == 0
