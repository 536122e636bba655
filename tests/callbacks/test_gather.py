"""The scalars of a step on their way to a sample, in one process; several ranks are in test_loop_ranks.py."""

import logging
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from pretrain_monitor import ListSink, Monitor
from pretrain_monitor.callbacks.averaging import contribution
from pretrain_monitor.callbacks.gather import StepGatherer
from pretrain_monitor.callbacks.learning_rate import largest_rate
from pretrain_monitor.readback import LateReadback

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


@pytest.fixture
def sink():
    return ListSink()


def gatherer(sink, **options):
    gather = StepGatherer(Monitor(None, QUIET, sinks=[sink]), is_writer=True, **options)
    gather.start(0)
    return gather


def pushed(sink, **scalars):
    """The sample that one push gives."""
    gather = gatherer(sink)
    gather.push(1, **scalars)
    gather.finish("finished")
    return sink.samples[-1]


def test_tensors_and_numbers_arrive_as_the_same_sample(sink):
    numbers = pushed(sink, loss=2.5, grad_norm=0.5, learning_rate=0.25, tokens=64, metrics={"z": 1})
    tensors = pushed(
        sink,
        loss=torch.tensor(2.5, requires_grad=True),
        grad_norm=torch.tensor([0.5]),
        learning_rate=torch.tensor(0.25, dtype=torch.float64),
        tokens=torch.tensor(64),
        metrics={"z": torch.tensor(1, dtype=torch.bfloat16)},
    )
    assert numbers.metrics == tensors.metrics == {"loss": 2.5, "grad_norm": 0.5, "learning_rate": 0.25, "z": 1.0}
    assert numbers.tokens_seen == tensors.tokens_seen == 64


def test_what_is_not_given_is_absent(sink):
    sample = pushed(sink, loss=2.5)
    assert sample.metrics == {"loss": 2.5}
    assert sample.tokens_seen is None


def test_a_loss_that_is_changed_in_place_after_the_push_was_read_before(sink):
    loss = torch.tensor(2.5)
    gather = gatherer(sink)
    gather.push(1, loss=loss)
    loss -= loss
    gather.finish("finished")
    assert sink.samples[0].metrics["loss"] == 2.5


def test_non_finite_values_are_passed_on(sink):
    sample = pushed(sink, loss=torch.tensor(math.nan), grad_norm=math.inf)
    assert math.isnan(sample.metrics["loss"])
    assert sample.metrics["grad_norm"] == math.inf


@pytest.mark.parametrize(
    "broken",
    ["much", torch.ones(3), torch.empty(0), [1.0, 2.0], object(), torch.tensor(1j)],
    ids=lambda broken: str(type(broken).__name__),
)
def test_a_value_that_is_no_number_is_left_out_and_told_once(sink, caplog, broken):
    gather = gatherer(sink)
    with caplog.at_level(logging.WARNING):
        for step in (1, 2, 3):
            gather.push(step, loss=2.5, grad_norm=broken, metrics={"ok": 1.0})
    gather.finish("finished")
    assert [sample.metrics for sample in sink.samples] == [{"loss": 2.5, "ok": 1.0}] * 3
    assert len([r for r in caplog.records if "grad_norm is left out" in r.getMessage()]) == 1


def test_metrics_that_are_no_mapping_are_left_out_and_told_once(sink, caplog):
    gather = gatherer(sink)
    with caplog.at_level(logging.WARNING):
        gather.push(1, loss=2.5, metrics=[1.0])
        gather.push(2, loss=2.4, metrics=[1.0])
    gather.finish("finished")
    assert [sample.metrics for sample in sink.samples] == [{"loss": 2.5}, {"loss": 2.4}]
    assert [record.getMessage()[:48] for record in caplog.records] == [
        "metrics are left out, for they are no mapping: c"
    ]


def test_tokens_add_up_and_once_unknown_stay_unknown(sink):
    gather = gatherer(sink)
    for step, tokens in enumerate([10, torch.tensor(5), 10.0, None, 10], start=1):
        gather.push(step, loss=1.0, tokens=tokens)
    gather.finish("finished")
    assert [sample.tokens_seen for sample in sink.samples] == [10, 15, 25, None, None]


def test_a_trainer_that_counts_tokens_is_believed(sink):
    gather = StepGatherer(Monitor(None, QUIET, sinks=[sink]), is_writer=True)
    gather.start(4, tokens_seen=1000)
    gather.push(5, loss=1.0, tokens=10)
    gather.finish("finished")
    assert sink.samples[0].tokens_seen == 1010


def test_a_rank_that_does_not_write_observes_nothing(sink):
    monitor = Monitor(None, QUIET, sinks=[sink])
    gather = StepGatherer(monitor, is_writer=False)
    gather.start(0)
    gather.push(1, loss=1.0)
    gather.checkpointed()
    gather.finish("finished")
    assert sink.samples == [] and not monitor.is_running


# A device without one: fake tensors say they are on "cuda:0" and hold no values, so reading one early is an error.


class ReadsOfDeviceTensors(TorchFunctionMode):
    """Counts what makes a host wait: numbers, truths and copies taken from a tensor that is not on the host."""

    READING = frozenset({"item", "tolist", "numpy", "__float__", "__int__", "__bool__", "__index__", "is_nonzero"})

    def __init__(self):
        super().__init__()
        self.reads = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        is_on_device = any(isinstance(arg, torch.Tensor) and arg.device.type != "cpu" for arg in args)
        if is_on_device and getattr(func, "__name__", "") in self.READING:
            self.reads.append(func.__name__)
        result = func(*args, **(kwargs or {}))
        if is_on_device and isinstance(result, torch.Tensor) and result.device.type == "cpu":
            self.reads.append(f"{func.__name__} to the host")
        return result


class ScriptedCopies:
    """Delivers, ``steps_late`` pushes later, rows whose values the test has written down."""

    def __init__(self, rows, steps_late):
        self.rows, self.steps_late = list(rows), steps_late
        self.sent = []

    def is_late(self, row):
        return row.device.type == "cuda"

    def buffer(self, width):
        return torch.zeros(width, dtype=torch.float64)

    def send(self, row, host):
        values = torch.tensor(self.rows[len(self.sent)], dtype=torch.float64)
        assert row.shape == host.shape == values.shape and row.dtype == torch.float64
        host.copy_(values)
        self.sent.append(row)
        return ScriptedArrival(self, len(self.sent))


class ScriptedArrival:
    def __init__(self, copies, number):
        self.copies, self.number = copies, number

    def query(self):
        return len(self.copies.sent) >= self.number + self.copies.steps_late

    def synchronize(self):
        pass


@pytest.fixture
def fake_device():
    return FakeTensorMode()


@pytest.fixture
def on_device(fake_device):
    def scalar(dtype=torch.float32):
        with fake_device:
            return torch.full((), 1, dtype=dtype, device="cuda")

    return scalar


def test_the_counter_of_reads_counts(on_device):
    counter = ReadsOfDeviceTensors()
    for read in (float, bool, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.cpu):
        before = len(counter.reads)
        try:
            with counter:
                read(on_device())
        except RuntimeError:
            pass  # a fake tensor has nothing to read
        assert len(counter.reads) == before + 1, read


def test_the_hot_path_reads_no_device_tensor(sink, on_device, caplog):
    written = [[float(step), 64.0, 0.5, 0.25, 7.0] for step in range(1, 21)]
    gather = gatherer(sink, readback=LateReadback(copies=ScriptedCopies(written, steps_late=2)))
    counter = ReadsOfDeviceTensors()
    for step in range(1, 21):
        group = {"lr": on_device()}
        with counter:
            gather.push(
                step,
                loss=on_device(torch.bfloat16),
                tokens=on_device(torch.int64),
                grad_norm=on_device(),
                learning_rate=largest_rate(type("Optimizer", (), {"param_groups": [group, {"lr": 0.1}]})),
                metrics={"logit_z": on_device(), "host": 3.0, "on_cpu": torch.tensor(4.0)},
            )
    gather.finish("finished")
    assert counter.reads == []
    assert caplog.records == []
    assert [sample.step for sample in sink.samples] == list(range(1, 21))
    assert sink.samples[4].metrics == {
        "loss": 5.0, "grad_norm": 0.5, "learning_rate": 0.25, "logit_z": 7.0, "host": 3.0, "on_cpu": 4.0,
    }  # fmt: skip
    assert sink.samples[4].tokens_seen == 5 * 64


def test_adding_up_over_ranks_reads_no_device_tensor(on_device, fake_device):
    batches = [
        {"loss": on_device(), "weight": on_device(torch.int64), "tokens": on_device(torch.int64)},
        {"loss": on_device(), "weight": 64, "tokens": 64},
        {"loss": 2.0, "weight": on_device(torch.int64)},
        {"loss": on_device(torch.bfloat16)},
        {"tokens": on_device(torch.int64)},
    ]
    counter = ReadsOfDeviceTensors()
    with fake_device, counter:
        sums = [contribution(batch, torch.device("cuda", 0)) for batch in batches]
    assert counter.reads == []
    assert {(row.dtype, row.device.type, row.shape) for row in sums} == {(torch.float64, "cuda", (8,))}


def test_late_steps_are_observed_late_and_in_order_among_steps_that_need_no_device(sink, on_device):
    copies = ScriptedCopies([[1.0], [3.0], [5.0]], steps_late=1)
    gather = gatherer(sink, readback=LateReadback(copies=copies))
    for step in range(1, 6):
        gather.push(step, loss=on_device() if step % 2 else float(step), grad_norm=None)
    assert gather._monitor.detector.last_step == 4
    gather.flush()
    assert gather._monitor.detector.last_step == 5
    gather.finish("finished")
    assert [(sample.step, sample.metrics["loss"]) for sample in sink.samples] == [(k, float(k)) for k in range(1, 6)]


def test_a_checkpoint_brings_everything_into_the_log(sink, on_device):
    gather = gatherer(sink, readback=LateReadback(copies=ScriptedCopies([[1.0], [2.0]], steps_late=99)))
    gather.push(1, loss=on_device())
    gather.push(2, loss=on_device())
    assert gather._monitor.detector.last_step is None
    gather.checkpointed()
    assert gather._monitor.detector.last_step == 2
