from __future__ import annotations

import gzip
import math
import time
from pathlib import Path

import pytest

from pretrain_monitor import Sample, read_run, replay
from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.notes import ReadNotes


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
        ("Training started.\nepoch 1 of 10, loss 2.5\n", "no step column"),
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
        ("step,loss\n", "a header and no rows"),
        ("step,loss\n1,\n2,  \n", "the loss column is empty in every row"),
        ("step,loss\n1,3,21\n", "line 2 has 3 cells, the header 2: a comma inside a number"),
        ('step,loss,note\n1,2,"a\n2,2,b\n', "unexpected end of data"),
        ('step,loss,note\n\n1,2,"a\nb"\n2,x,\n', "line 5: loss 'x' is not a number"),
        ("step,loss\r1,2\r", "carriage returns alone"),
        ("step,loss\n1,2\n".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        ('[{"step": 1, "loss": 2}]\n', "a JSON array"),
        (
            '{\n "step": 1,\n "loss": 2\n}\n',
            "one JSON document over many lines, and no trainer_state.json; write one object a line",
        ),
        pytest.param('{"step": 1, "loss": ' + "[" * 100_000 + "\n", "line 1 is not JSON", id="deep"),
        ('{"step": 1, "loss": {"value": 2}}\n', "loss {'value': 2} is not a number"),
        ('{"step": 1, "loss": 2, "loss": 3}\n', "line 1 has 'loss' twice"),
        ('{"step": 1, "loss": 2, "metrics": {"loss": 3}}\n', "line 1 has 'loss' twice, once under metrics"),
        pytest.param('{"step": 1, "loss": "' + "x" * 10_000_000 + '"}\n', "xxx...xxx", id="10 MB in a cell"),
        pytest.param("x" * (33 << 20), "line 1 is longer than 32 MiB", id="33 MiB in a line"),
        (b"PK\x03\x04" + bytes(90), "a ZIP archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(90), "compressed with zstd"),
        (b"\x1f\x8b and no more", "gzip data damaged or cut off"),
        pytest.param(gzip.compress(b"step,loss\n1,2\n")[:-10], "gzip data damaged or cut off", id="gzip cut off"),
        pytest.param(gzip.compress(b""), "the log is empty", id="gzip of nothing"),
    ],
)
def test_a_log_that_cannot_be_used_is_one_line_with_its_name(tmp_path: Path, content: str | bytes, said: str):
    path = written(tmp_path, content)
    with pytest.raises(LogError) as error:
        list(read_run(path))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 250


def test_a_log_that_is_not_there_a_directory_without_one_and_an_unreadable_one_are_told(tmp_path: Path):
    with pytest.raises(LogError, match="no such file"):
        read_run(tmp_path / "nothing.csv")
    with pytest.raises(LogError, match=r"no run\.jsonl and no event files in this directory"):
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


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_may_stand_between_commas_semicolons_or_tabs(tmp_path: Path, delimiter: str):
    text = "\n".join(map(delimiter.join, (("step", "loss", '"a;b,c\td"'), ("1", "2.5", "7"))))
    assert [dict(s.metrics) for s in read_run(written(tmp_path, text))] == [{"loss": 2.5, "a;b,c\td": 7.0}]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "run.jsonl"])
def test_a_gzipped_log_is_read_like_the_log_in_it(tmp_path: Path, name: str):
    texts = {
        "log.csv": "step,loss\n1,2.5\n2,2.4\n",
        "log.jsonl": '{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.4}\n',
        "run.jsonl": '{"type":"run"}\n{"type":"sample","step":1,"metrics":{"loss":2.5}}\n'
        '{"type":"sample","step":2,"metrics":{"loss":9}}\n{"type":"run","resumed_from":1}\n'
        '{"type":"sample","step":2,"metrics":{"loss":2.4}}\n',
    }
    plain = written(tmp_path, texts[name], name)
    packed = written(tmp_path, gzip.compress(texts[name].encode()), f"{name}.gz")
    assert list(read_run(packed)) == list(read_run(plain)) == [Sample(1, {"loss": 2.5}), Sample(2, {"loss": 2.4})]


@pytest.mark.parametrize("steps", [(0, 1, 2), (-7, -3, 0), (1, 2, 2**62 - 1), (-(2**62) + 1, 0, 2**53 + 1)])
@pytest.mark.parametrize("form", ["csv", "jsonl", "run.jsonl"])
def test_steps_may_begin_anywhere_and_jump_anywhere(tmp_path: Path, steps: tuple[int, ...], form: str):
    if form == "csv":
        text = "step,loss\n" + "".join(f"{step},nan\n" for step in steps)
    elif form == "jsonl":
        text = "".join(f'{{"step": {step}, "loss": NaN}}\n' for step in steps)
    else:
        text = "".join(f'{{"type":"sample","step":{step},"metrics":{{"loss":"NaN"}}}}\n' for step in steps)
    path = written(tmp_path, text, form)
    assert tuple(sample.step for sample in read_run(path)) == steps
    assert [(i.kind.value, i.onset_step) for i in replay(path)] == [("nonfinite", steps[0])]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_many_columns_take_no_time(tmp_path: Path, form: str):
    names = ["step", "loss", *(f"c{number}" for number in range(50_000))]
    if form == "csv":
        text = ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n"
    else:
        text = "{" + ", ".join(f'"{name}": 1' for name in names) + "}\n"
    path = written(tmp_path, text)
    start = time.process_time()
    (sample,) = read_run(path)
    assert len(sample.metrics) == 50_001
    assert time.process_time() - start < 10  # compared each with each they take ten minutes


def test_rows_with_a_loss_and_no_step_are_passed_over_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = written(tmp_path, '{"step": 1, "loss": 2.0}\n{"loss": 3.0}\n{"accuracy": 0.5}\n')
    assert list(read_run(path)) == [Sample(1, {"loss": 2.0})]
    assert "passed over 1 row with a loss but no step" in caplog.text


@pytest.mark.parametrize("content", ["", "no record\nnor this\n", '{"type":"event","step":1}\n', "\0\0\0\n"])
def test_a_run_log_without_a_single_record_of_a_run_is_an_error(tmp_path: Path, content: str):
    written(tmp_path, content, "run.jsonl")
    with pytest.raises(LogError, match="holds no sample" if content else "the log is empty"):
        list(read_run(tmp_path))


def test_a_run_log_that_has_only_begun_has_no_samples_yet(tmp_path: Path):
    written(tmp_path, '{"type":"run","version":1,"resumed_from":null}\n', "run.jsonl")
    assert list(read_run(tmp_path)) == []
    assert replay(tmp_path) == []


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_where_a_run_log_was_resumed_is_noted(tmp_path: Path, name: str):
    record = '{{"type":"sample","step":{},"metrics":{{"loss":2.0}}}}\n'
    text = '{"type":"run","resumed_from":null}\n' + "".join(record.format(step) for step in range(1, 6))
    text += '{"type":"run","resumed_from":3}\n' + record.format(4)
    path = written(tmp_path, gzip.compress(text.encode()) if name.endswith("gz") else text, name)
    notes = ReadNotes()
    assert [sample.step for sample in read_run(path, notes=notes)] == [1, 2, 3, 4]
    assert (notes.resumed_after, notes.source) == ([3], "run log")


def test_a_run_log_whose_first_line_was_cut_off_is_still_one(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    text = '{"type":"ru\n{"type":"sample","step":1,"metrics":{"loss":2.0}}\n'
    path = written(tmp_path, text, "run.jsonl")
    assert list(read_run(tmp_path)) == list(read_run(path)) == [Sample(1, {"loss": 2.0})]
    assert "dropped 1 line cut off or damaged" in caplog.text


def test_a_run_log_of_two_runs_at_once_is_told(tmp_path: Path):
    lines = (f'{{"type":"sample","step":{step},"metrics":{{"loss":2.0}}}}\n' for step in (1, 2, 1))
    path = written(tmp_path, "".join(lines), "run.jsonl")
    with pytest.raises(LogError, match="steps go backwards: 1 after 2, and no record says that the run was resumed"):
        replay(path)


def test_a_directory_of_event_files_without_a_scalar_is_told(tmp_path: Path):
    written(tmp_path, b"x", "events.out.tfevents.1764000000.host")
    with pytest.raises(LogError, match="no scalars in its event files"):
        list(read_run(tmp_path))


def test_a_log_that_was_opened_and_not_read_is_closed(tmp_path: Path):
    # A file left open is a ResourceWarning, and so an error here.
    path = written(tmp_path, "step,loss\n1,2.0\n2,2.0\n")
    read_run(path)
    next(read_run(path))
