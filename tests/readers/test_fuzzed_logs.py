"""Whatever bytes a log holds: samples, or one line that names the file; never another exception, never for ever."""

from __future__ import annotations

import gzip
import json
import logging
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pretrain_monitor import read_run
from pretrain_monitor.readers import LogError

CELL = st.one_of(
    st.integers(-5, 40).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", "nan", "inf", "-inf", "1e400", "1_0", "3,2", "x", '"', "'", "\u0661", "\x1b[31m", "None", "true"]
    ),
)
NAME = st.sampled_from(
    ["step", "loss", "grad_norm", "lr", "train/loss", "epoch", "", "step ", "a - loss", "lr-Adam", "\ufeffstep"]
)
SEPARATOR = st.sampled_from([",", ";", "\t", " "])
END = st.sampled_from(["\n", "\r\n", "\r", ""])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    separator, end = draw(SEPARATOR), draw(END)
    rows = [draw(st.lists(NAME, min_size=1, max_size=4)), *draw(st.lists(st.lists(CELL, max_size=5), max_size=6))]
    return end.join(separator.join(row) for row in rows).encode("utf-8", "surrogatepass")


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    value = st.one_of(
        st.integers(-3, 30), st.floats(), st.text(max_size=4), st.none(), st.lists(st.integers(), max_size=2)
    )
    records = draw(st.lists(st.dictionaries(NAME, value, max_size=4), max_size=6))
    text = draw(st.sampled_from(["\n", ", "])).join(json.dumps(record) for record in records)
    around = draw(
        st.sampled_from(["{}", "[{}]", '{{\n"log_history": [{}]}}', '{{"log_history": [{}', '{{"log_history": {}}}'])
    )
    return around.format(text).encode("utf-8", "surrogatepass")


@st.composite
def printed(draw: st.DrawFn) -> bytes:
    words = st.sampled_from(
        ["step", "loss", "iter 5:", "loss 3.0", "step=7/9", "[step=3/9,", "lr: 1e-4", "{'loss': 2.0}", "\r", "|", "12"]
    )
    lines = draw(st.lists(st.lists(words, max_size=5).map(" ".join), max_size=8))
    return draw(st.sampled_from(["\n", "\n    "])).join(lines).encode()


RECORDS = [
    '{"type":"run","version":1,"resumed_from":null}',
    '{"type":"run","resumed_from":1}',
    '{"type":"run","resumed_from":"x"}',
    '{"type":"sample","step":1,"metrics":{"loss":2.0}}',
    '{"type":"sample","step":2,"metrics":{"loss":"NaN"}}',
    '{"type":"sample","step":1.5,"metrics":{}}',
    '{"type":"sample","step":3,"metrics":[1]}',
    '{"type":"sample"}',
    '{"type":"end","step":3}',
    '{"type":"snapshot","step":2,"state":1}',
    '{"type":"announcement","step":1}',
    "{",
    "null",
]
RUN_LOG = st.lists(st.sampled_from(RECORDS), max_size=8).map(lambda lines: "\n".join(lines).encode())

# Steps that rise and fall, with a loss and without.
VALUE = st.tuples(st.integers(-2, 12), st.sampled_from(["loss", "x", "grad_norm"]), st.floats() | st.none())
OUT_OF_ORDER = st.lists(VALUE, max_size=30).map(
    lambda rows: "".join(json.dumps({"step": step, name: value}) + "\n" for step, name, value in rows).encode()
)
BLOCK_OF_WANDB = st.binary(max_size=300).map(
    lambda record: b":W&B\xe1\xbe\0" + struct.pack("<IHB", 0, len(record), 1) + record
)

LOGS = st.one_of(st.binary(max_size=200), tables(), objects(), printed(), RUN_LOG, OUT_OF_ORDER, BLOCK_OF_WANDB)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    content=LOGS,
    name=st.sampled_from(
        ["log.csv", "run.jsonl", "trainer_state.json", "log.jsonl", "metrics.csv", "a.tfevents.1", "x.parquet", "m.db"]
    ),
    magic=st.sampled_from(
        [
            b"",
            b"",
            b"",
            b"",
            b"PAR1",
            b"SQLite format 3\0",
            b":W&B\xe1\xbe\0",
            b"\xff\xfe",
            b"\x1f\x8b",
            b"\xef\xbb\xbf",
        ]
    ),
    cut=st.integers(0, 400),
    is_packed=st.booleans(),
    run=st.sampled_from(["", "", "#1", "#2", "#x"]),
)
@example(
    content=b"step,loss\n" + b"9" * 100_000 + b",1\n", name="log.csv", magic=b"", cut=10**6, is_packed=False, run=""
)
@example(
    content=b'{"step": 1, "loss": ' + b"[" * 50_000, name="log.jsonl", magic=b"", cut=10**6, is_packed=False, run=""
)
@example(content=b"step loss\n" * 3 + b"\xff\xfe\xfa", name="log.csv", magic=b"", cut=10**6, is_packed=False, run="")
def test_any_bytes_are_samples_or_one_line(
    tmp_path: Path, content: bytes, name: str, magic: bytes, cut: int, is_packed: bool, run: str
):
    logging.disable(logging.CRITICAL)  # fixture-free: hypothesis calls this many times
    try:
        data = (magic + content)[:cut]
        if is_packed and name != "m.db":
            data = gzip.compress(data)[: max(cut, 30)]
        path = tmp_path / name
        path.write_bytes(data)
        last = None
        try:
            for sample in read_run(f"{path}{run}"):
                assert type(sample.step) is int and (last is None or sample.step >= last)
                assert all(type(value) is float for value in sample.metrics.values()), sample
                last = sample.step
        except LogError as refused:
            line = str(refused)
            assert name in line and line.isprintable() and len(line) < 1000, line
    finally:
        logging.disable(logging.NOTSET)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=st.text(alphabet="(?P<step>)loss\\d+*[]{}^$|. ", max_size=20))
@example(expression="[[")
@example(expression="a{99999999999999}")
@example(expression="(" * 5000)
def test_any_pattern_is_an_expression_or_one_line(tmp_path: Path, expression: str):
    path = tmp_path / "log.txt"
    path.write_text("step 1 loss 2.0\n")
    with pytest.raises(LogError) as refused:
        list(read_run(path, pattern=expression))
    assert str(refused.value).isprintable()
