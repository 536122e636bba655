"""Event files as others write them: torch, TensorFlow's way, a real Trainer, a real Lightning run."""

from __future__ import annotations

import gzip
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain_monitor import Sample, read_run, replay
from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.event_files import EventFileRun, Late, Superseded
from pretrain_monitor.readers.event_records import EventFile
from pretrain_monitor.readers.event_tags import fields_of
from pretrain_monitor.readers.notes import ReadNotes


def writer(directory: Path, **options: Any) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory), **options)


def poll_all(run: EventFileRun, at_most: int = 8 << 20) -> list[Any]:
    items = run.poll(at_most)
    while run.is_behind:
        items += run.poll(at_most)
    return items


@pytest.mark.parametrize("new_style", [False, True])
def test_every_step_of_torchs_writer_is_there_in_single_precision(tmp_path: Path, new_style: bool):
    values = 3.0 + np.random.default_rng(0).normal(size=3000)
    with writer(tmp_path) as out:
        for step, value in enumerate(values, 1):
            out.add_scalar("train/loss", value, step, new_style=new_style)
            out.add_scalar("train/lr", 1e-4, step, new_style=new_style)
        out.add_text("note", "hello", 1)
        out.add_histogram("weights", values, 1)
    samples = list(read_run(tmp_path))
    assert [sample.step for sample in samples] == list(range(1, 3001))
    assert [sample.metrics["loss"] for sample in samples] == values.astype(np.float32).tolist()
    assert samples[0].metrics["learning_rate"] == pytest.approx(1e-4)
    assert samples[0].time is not None


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bfloat16"])
def test_tensors_of_one_number_are_scalars(tmp_path: Path, dtype: str):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_BFLOAT16
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util import tensor_util

    out = EventFileWriter(str(tmp_path))
    for step in (1, 2):
        if dtype == "bfloat16":
            upper = np.float32(step + 1).tobytes()[2:]
            tensor = TensorProto(dtype=DT_BFLOAT16, tensor_content=upper)
        else:
            tensor = tensor_util.make_tensor_proto(np.array(step + 1, dtype=dtype))
        many = tensor_util.make_tensor_proto(np.arange(3.0))
        values = [Summary.Value(tag="loss", tensor=tensor), Summary.Value(tag="many", tensor=many)]
        out.add_event(Event(step=step, wall_time=7.0, summary=Summary(value=values)))
    out.close()
    assert list(read_run(tmp_path)) == [Sample(1, {"loss": 2.0}, None, 7.0), Sample(2, {"loss": 3.0}, None, 7.0)]


def test_a_run_is_followed_while_it_is_written_and_a_record_cut_off_is_waited_for(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    with writer(source) as out:
        for step in range(1, 101):
            out.add_scalar("loss", step, step)
    target.mkdir()
    (file,) = source.iterdir()
    data = file.read_bytes()
    run = EventFileRun(target)
    assert run.poll() == []
    found: list[Sample] = []
    copy = target / file.name
    for stop in range(0, len(data) + 13, 13):
        copy.write_bytes(data[:stop])
        found += run.poll()  # type: ignore[arg-type]
    assert [sample.metrics["loss"] for sample in found] == list(range(1, 100))
    assert [sample.metrics["loss"] for sample in run.flush()] == [100.0]


@pytest.mark.parametrize("at_most", [64, 1000, 1 << 20])
def test_small_pieces_give_the_same_as_one(tmp_path: Path, at_most: int):
    with writer(tmp_path) as out:
        for step in range(1, 200):
            out.add_scalar("loss", step, step)
            out.add_scalar("grad_norm", 2 * step, step)
    run = EventFileRun(tmp_path)
    samples = [*poll_all(run, at_most), *run.flush()]
    assert [(s.step, s.metrics) for s in samples] == [
        (step, {"loss": float(step), "grad_norm": 2.0 * step}) for step in range(1, 200)
    ]


def test_a_second_file_that_begins_earlier_supersedes(tmp_path: Path):
    for number, (first, last, value) in enumerate([(1, 50, 1.0), (31, 60, 2.0)]):
        with writer(tmp_path) as out:
            for step in range(first, last + 1):
                out.add_scalar("train/loss", value, step)
        (file,) = tmp_path.glob("*tfevents.1?????*")
        file.rename(tmp_path / f"events.out.tfevents.{number}")
    items = poll_all(EventFileRun(tmp_path))
    assert [item for item in items if isinstance(item, Superseded)] == [Superseded(31)]
    samples = list(read_run(tmp_path))
    assert [sample.step for sample in samples] == list(range(1, 61))
    assert [sample.metrics["loss"] for sample in samples] == [1.0] * 30 + [2.0] * 30


def test_an_evaluation_that_is_written_late_disturbs_nobody(tmp_path: Path):
    with writer(tmp_path) as out:
        for step in range(1, 21):
            out.add_scalar("train/loss", step, step)
        out.add_scalar("eval/loss", 9.0, 10)
    items = poll_all(EventFileRun(tmp_path))
    assert Late(10, {"eval/loss": 9.0}) in items
    assert [item.step for item in items if isinstance(item, Sample)] == list(range(1, 20))
    (evaluated,) = [sample for sample in read_run(tmp_path) if "eval/loss" in sample.metrics]
    assert evaluated.step == 10
    assert evaluated.metrics["loss"] == 10.0


def test_a_better_loss_that_appears_later_takes_the_place_of_a_mean(tmp_path: Path):
    with writer(tmp_path) as out:
        out.add_scalar("train/loss", 5.0, 1)
        for step in range(1, 11):
            out.add_scalar("monitor/train/loss", step, step)
    items = poll_all(EventFileRun(tmp_path))
    restart = next(at for at, item in enumerate(items) if isinstance(item, Superseded))
    assert [item.metrics["loss"] for item in items[restart + 1 :]] == [float(step) for step in range(1, 10)]
    assert next(iter(read_run(tmp_path))).metrics == {"loss": 1.0, "train/loss": 5.0}


def test_a_damaged_file_is_read_as_far_as_it_goes_and_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with writer(tmp_path) as out:
        for step in range(1, 11):
            out.add_scalar("loss", step, step)
    (file,) = tmp_path.iterdir()
    with file.open("ab") as end:
        end.write(struct.pack("<Q", 2**60) + b"\0" * 500)
    run = EventFileRun(tmp_path)
    samples = [*poll_all(run), *run.poll(), *run.flush()]
    assert [sample.step for sample in samples] == list(range(1, 11))
    assert caplog.text.count("damaged after byte") == 1


def test_nan_that_happened_is_kept_and_nan_as_a_filler_is_not(tmp_path: Path):
    with writer(tmp_path) as out:
        for step in range(1, 6):
            out.add_scalar("loss", math.nan if step == 4 else 1.0, step)
            out.add_scalar("grad_norm", math.nan, step)
    samples = list(read_run(tmp_path))
    assert math.isnan(samples[3].metrics["loss"])
    assert all("grad_norm" not in sample.metrics for sample in samples)


@pytest.mark.parametrize(
    ("tags", "signals"),
    [
        (["lm loss", "grad-norm", "learning-rate"], ["loss", "grad_norm", "learning_rate"]),
        (["train_loss", "lr-AdamW", "epoch"], ["loss", "learning_rate", "epoch"]),
        (["my/loss", "val/loss"], ["loss", "val/loss"]),
        (["z_loss", "moe/aux_loss", "my_ce_loss"], ["z_loss", "moe/aux_loss", "loss"]),
        (["monitor/trend/loss/upper", "monitor/train/update_rms"], [None, "update_rms"]),
        (["train/loss", "loss"], ["loss", "other/loss"]),  # two under one name would be one zigzag
        (["train/epoch", "epoch"], ["epoch", "epoch?"]),
    ],
)
def test_tags_stand_for_the_signals_that_people_mean(tags: list[str], signals: list[str | None]):
    found = fields_of(tags)
    assert len(set(found.values())) == len(tags)
    if "epoch?" not in signals:
        assert list(found.values()) == signals


def test_a_trainers_own_log_is_read_and_its_trouble_found(tmp_path: Path):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(0)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (32, 16))]
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    arguments = TrainingArguments(
        str(tmp_path / "out"),
        max_steps=12,
        logging_steps=1,
        report_to=["tensorboard"],
        per_device_train_batch_size=4,
        use_cpu=True,
        disable_tqdm=True,
    )
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(tmp_path / "logs")
    try:
        Trainer(model, arguments, train_dataset=rows).train()
    finally:
        del os.environ["TENSORBOARD_LOGGING_DIR"]
    directory = next(tmp_path.rglob("*tfevents*")).parent
    samples = [sample for sample in read_run(directory) if "loss" in sample.metrics]
    assert [sample.step for sample in samples] == list(range(1, 13))
    assert all({"loss", "grad_norm", "learning_rate", "epoch"} <= sample.metrics.keys() for sample in samples)


# As in the other tests with Lightning.
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_a_lightning_log_is_read(tmp_path: Path):
    import lightning
    import torch
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import TensorBoardLogger

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.layer(batch).square().mean()
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    trainer = lightning.Trainer(
        max_steps=12,
        accelerator="cpu",
        logger=TensorBoardLogger(str(tmp_path), name="", version="v"),
        callbacks=[LearningRateMonitor("step")],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.randn(48, 4), batch_size=4, num_workers=0))
    samples = [sample for sample in read_run(tmp_path / "v") if "loss" in sample.metrics]
    assert len(samples) == 12
    assert samples[-1].metrics["learning_rate"] == pytest.approx(0.01)


def test_the_detector_finds_in_event_files_what_it_finds_in_the_samples(tmp_path: Path):
    from curves import healthy_run, samples

    run = healthy_run(1500, seed=0)
    run["loss"][900:920] += np.exp(-np.arange(20) / 6.0)
    run["grad_norm"][900:920] *= 8
    run = {name: values.astype(np.float32).astype(float) for name, values in run.items()}
    with writer(tmp_path) as out:
        for sample in samples(run):
            for name, value in sample.metrics.items():
                out.add_scalar(f"train/{name}", value, sample.step)
    (incident,) = [one for one in replay(tmp_path) if one.is_alert]
    (expected,) = [one for one in replay(samples(run)) if one.is_alert]
    assert incident.to_json() == expected.to_json()


def test_directories_above_and_without_event_files_say_where_there_are_some(tmp_path: Path):
    with writer(tmp_path / "a" / "b") as out:
        out.add_scalar("loss", 1.0, 1)
    with pytest.raises(LogError, match=r"event files below it: give one of a/b$"):
        read_run(tmp_path)
    with writer(tmp_path / "empty") as out:
        out.add_text("note", "x", 1)
    with pytest.raises(LogError, match="no scalars"):
        list(read_run(tmp_path / "empty"))


def test_one_file_alone_can_be_named(tmp_path: Path):
    with writer(tmp_path) as out:
        out.add_scalar("loss", 1.5, 3)
    (file,) = tmp_path.iterdir()
    (sample,) = read_run(file)
    assert (sample.step, sample.metrics) == (3, {"loss": 1.5})


@settings(max_examples=200, deadline=None)
@given(
    tag=st.text(max_size=140),
    step=st.integers(0, 2**63 - 1),
    moment=st.floats(allow_nan=False),
    value=st.floats(width=32),
    more=st.sampled_from(["", "second value", "metadata", "file version"]),
    damage=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=2),
)
def test_a_record_reads_as_protobuf_reads_it_plain_or_not(
    tmp_path_factory: pytest.TempPathFactory,
    tag: str,
    step: int,
    moment: float,
    value: float,
    more: str,
    damage: list[tuple[int, int]],
):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    event = Event(wall_time=moment, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
    if more == "second value":
        event.summary.value.add(tag="other", simple_value=1.0)
    elif more == "metadata":
        event.summary.value[0].metadata.display_name = "shown"
    elif more == "file version":
        event.source_metadata.writer = "somebody"
    payload = bytearray(event.SerializeToString())
    for at, byte in damage:
        payload[at % len(payload)] = byte
    path = tmp_path_factory.mktemp("one") / "events.out.tfevents.1.host"
    path.write_bytes(struct.pack("<Q", len(payload)) + b"\0" * 4 + bytes(payload) + b"\0" * 4)
    read = list(EventFile(path).read(1 << 20))
    try:
        event = Event.FromString(bytes(payload))
    except Exception:
        assert read == []
        return
    expected = [(one.tag, one.simple_value) for one in event.summary.value if one.WhichOneof("value") == "simple_value"]
    if not expected:
        return
    (found,) = read
    # repr: NaN is not equal to itself.
    assert repr((found.step, found.time, found.values)) == repr((event.step, event.wall_time, expected))


def scalars(directory: Path, count: int = 500) -> Path:
    with writer(directory) as out:
        for step in range(1, count + 1):
            out.add_scalar("train/loss", 2.0, step)
    (path,) = directory.iterdir()
    return path


def test_packed_files_are_unpacked(tmp_path: Path):
    path = scalars(tmp_path / "plain")
    packed = tmp_path / "packed" / f"{path.name}.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_run(packed.parent)) == list(read_run(packed)) == list(read_run(path))
    run = EventFileRun(packed.parent)
    assert len(poll_all(run, at_most=1000)) == 499  # the newest may get more
    packed.write_bytes(packed.read_bytes()[:-2000])
    notes = ReadNotes()
    assert 0 < len(list(read_run(packed.parent, notes=notes))) < 500
    assert "is damaged after byte" in notes.sentences[0]


def test_files_that_are_cut_off_or_damaged_are_said(tmp_path: Path):
    path = scalars(tmp_path / "cut")
    path.write_bytes(path.read_bytes()[:-7])
    notes = ReadNotes()
    assert len(list(read_run(path.parent, notes=notes))) == 499
    assert notes.sentences == [f"{path.name} is cut off within its last record, or still being written"]
    path.write_bytes(path.read_bytes()[:5000] + b"\xff" * 5000)
    notes = ReadNotes()
    assert 50 < len(list(read_run(path.parent, notes=notes))) < 200
    assert notes.sentences[0].startswith(f"{path.name} is damaged after byte")
