from __future__ import annotations

import itertools
import math
import subprocess
import sys
import traceback
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins import MixedPrecision
from lightning_killed import BATCHES_PER_EPOCH, STEPS, train
from lightning_parts import (
    QUIET,
    RecordingLM,
    TinyLM,
    ValidatedLM,
    fingerprint,
    fit,
    loader,
    norm_of,
    rows,
    trainer,
    watch,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import pretrain_monitor
from pretrain_monitor import read_run, replay
from pretrain_monitor.callbacks.lightning import MonitorCallback
from pretrain_monitor.callbacks.window import StepWindow, tokens_of
from pretrain_monitor.records import read_records

pytestmark = [
    # Lightning says so of every DataLoader without worker processes, which tiny data do not need.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6 uses a call that torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]

HERE = Path(__file__).parent
OWN_FILES = str(Path(pretrain_monitor.__file__).parent)


class CountingNorms(TorchDispatchMode):
    """Counts fused gradient norms, whoever computes them."""

    def __init__(self):
        super().__init__()
        self.norms = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.norms += func.overloadpacket is torch.ops.aten._foreach_norm
        return func(*args, **(kwargs or {}))


class HostReads(TorchDispatchMode):
    """Finds where the adapter makes the host wait for a value: item(), float(), bool() and int() all end here.

    The gatherer and the sum of losses read what is on the host already, and here everything is; that they read nothing
    from a device is proved in test_gather.py and test_losses.py.
    """

    HOST_READERS = ("gather.py", "losses.py")

    def __init__(self):
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            own = [frame for frame in traceback.extract_stack() if frame.filename.startswith(OWN_FILES)]
            self.places += [f"{f.filename}:{f.lineno}" for f in own[-1:] if not f.filename.endswith(self.HOST_READERS)]
        return func(*args, **(kwargs or {}))


def column(sink, name):
    return [sample.metrics.get(name) for sample in sink.samples]


# What a sample says


@pytest.mark.parametrize(
    "clip", [{}, {"gradient_clip_val": 0.1}, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}]
)
def test_every_optimizer_step_gives_its_loss_its_norm_before_clipping_and_the_rate_it_used(clip):
    model, (callback, sink) = RecordingLM(warmup=True), watch()
    fit(model, callback, batches=5, max_epochs=2, **clip)
    assert [sample.step for sample in sink.samples] == list(range(1, 11))
    assert column(sink, "loss") == model.losses
    assert column(sink, "grad_norm") == pytest.approx(model.norms, rel=1e-6)
    assert column(sink, "learning_rate") == model.rates
    assert model.rates[:3] == pytest.approx([0.001, 0.002, 0.003])


def test_loss_is_the_mean_over_the_micro_batches_also_in_the_short_last_window_of_an_epoch():
    model, (callback, sink) = RecordingLM(), watch()
    fit(model, callback, batches=7, max_epochs=2, accumulate_grad_batches=3)
    micro = model.losses
    windows = [micro[0:3], micro[3:6], micro[6:7], micro[7:10], micro[10:13], micro[13:14]]
    assert column(sink, "loss") == pytest.approx([sum(window) / len(window) for window in windows], rel=1e-6)
    assert column(sink, "grad_norm") == pytest.approx(model.norms, rel=1e-6)
    short = {"micro_batches": 1, "accumulate_grad_batches": 3}
    assert [sample.meta for sample in sink.samples] == [None, None, short, None, None, short]
    assert column(sink, "epoch") == [0, 0, 0, 1, 1, 1]


def test_training_step_may_return_a_dict():
    class DictLM(TinyLM):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx), "accuracy": torch.tensor(0.5)}

    model, (callback, sink) = DictLM(), watch()
    fit(model, callback)
    assert column(sink, "loss") == model.losses


@pytest.mark.parametrize("clip", [None, 0.1])
# Lightning remarks on it once.
@pytest.mark.filterwarnings("ignore:.*training_step. returned .None")
def test_a_batch_that_training_step_skips_is_a_step_without_loss_and_norm(clip):
    class SkippingLM(TinyLM):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 2 else super().training_step(batch, batch_idx)

    callback, sink = watch()
    fit(SkippingLM(), callback, batches=4, gradient_clip_val=clip)
    assert [sample.step for sample in sink.samples] == [1, 2, 3, 4]
    assert [set(sample.metrics) - {"epoch"} for sample in sink.samples][1:3] == [
        {"loss", "grad_norm", "learning_rate"},
        {"learning_rate"},
    ]


def test_sanity_check_and_validation_leave_no_trace():
    model, (callback, sink) = ValidatedLM(), watch()
    run = trainer(callback, max_epochs=2, val_check_interval=2, num_sanity_val_steps=2)
    run.fit(model, loader(rows(24)), loader(rows(8, seed=5)))
    assert run.callback_metrics["val_loss"] > 0
    assert [sample.step for sample in sink.samples] == list(range(1, 13))
    assert column(sink, "loss") == model.losses


def test_padding_is_no_token():
    data = [{**row, "attention_mask": torch.tensor([1, 1, 1, 1, 1, 1, 0, 0])} for row in rows(12)]
    callback, sink = watch()
    trainer(callback).fit(TinyLM(), loader(data))
    assert [sample.tokens_seen for sample in sink.samples] == [24, 48, 72]


def test_tokens_are_counted_over_all_micro_batches():
    callback, sink = watch()
    fit(TinyLM(), callback, batches=4, accumulate_grad_batches=3)
    assert [sample.tokens_seen for sample in sink.samples] == [96, 128]


def test_tokens_are_absent_where_the_batch_does_not_tell_unless_the_user_counts():
    class PairLM(TinyLM):
        def training_step(self, batch, batch_idx):
            return super().training_step({"input_ids": batch[0], "labels": batch[1]}, batch_idx)

    pairs = [(row["input_ids"], row["labels"]) for row in rows(12)]
    silent, counting = watch(), watch(count_tokens=lambda batch: batch[0].numel())
    for callback, _ in (silent, counting):
        trainer(callback).fit(PairLM(), loader(pairs))
    assert [sample.tokens_seen for sample in silent[1].samples] == [None, None, None]
    assert [sample.tokens_seen for sample in counting[1].samples] == [32, 64, 96]


# No second gradient norm


@pytest.mark.parametrize(
    "options", [{}, {"gradient_clip_val": 0.1}, {"gradient_clip_val": 0.1, "accumulate_grad_batches": 3}]
)
def test_one_norm_is_computed_per_step_clipping_or_not(options):
    callback, sink = watch()
    with CountingNorms() as counter:
        fit(TinyLM(), callback, batches=6, **options)
    assert counter.norms == len(sink.samples) == (2 if "accumulate_grad_batches" in options else 6)
    assert None not in column(sink, "grad_norm")


def test_a_clipping_hook_that_uses_lightnings_clipping_costs_one_extra_norm_at_the_first_step_only():
    class OwnClippingLM(TinyLM):
        def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
            self.norms.append(norm_of(optimizer))
            self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")

    model, (callback, sink) = OwnClippingLM(), watch()
    with CountingNorms() as counter:
        fit(model, callback, batches=6)
    assert column(sink, "grad_norm") == pytest.approx(model.norms, rel=1e-6)
    assert counter.norms == 6 + 6 + 1  # the module's own, Lightning's, the monitor's


def test_a_clipping_hook_that_clips_by_other_means_hides_no_norm():
    class TorchClippingLM(TinyLM):
        def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
            self.norms.append(torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val).item())

    model, (callback, sink) = TorchClippingLM(), watch()
    fit(model, callback, gradient_clip_val=0.1)
    assert column(sink, "grad_norm") == pytest.approx(model.norms, rel=1e-6)


def test_a_hook_that_clips_now_and_then_costs_at_most_one_norm():
    class SometimesClippingLM(RecordingLM):
        def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
            if self.global_step % 3 == 0:
                self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")

    model, (callback, sink) = SometimesClippingLM(), watch()
    fit(model, callback, batches=12)
    seen = column(sink, "grad_norm")
    assert seen.count(None) == 1
    told = [(norm, truth) for norm, truth in zip(seen, model.norms, strict=True) if norm is not None]
    assert [norm for norm, _ in told] == pytest.approx([truth for _, truth in told], rel=1e-6)


# Manual optimization


class ManualLM(TinyLM):
    """Two optimizers, one for the embedding and one for the rest."""

    def __init__(self, *, clip: float | None = None, returns: str = "loss", every: int = 1):
        super().__init__()
        self.automatic_optimization = False
        self.clip, self.returns, self.every = clip, returns, every

    def configure_optimizers(self):
        return [
            torch.optim.SGD(self.net[0].parameters(), lr=0.1),
            torch.optim.AdamW(self.net[1:].parameters(), lr=0.01),
        ]

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.losses.append(loss.item())
        self.manual_backward(loss / self.every)
        if (batch_idx + 1) % self.every == 0:
            self.norms.append(torch.nn.utils.get_total_norm([p.grad for p in self.parameters()]).item())
            for optimizer in self.optimizers():
                if self.clip is not None:
                    self.clip_gradients(optimizer, gradient_clip_val=self.clip, gradient_clip_algorithm="norm")
                optimizer.step()
                optimizer.zero_grad()
        return {"loss": loss, "tensor": loss, "nothing": None}[self.returns]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_two_optimizers_give_one_sample_per_batch_with_the_norm_over_both(clip):
    model, (callback, sink) = ManualLM(clip=clip), watch()
    with CountingNorms() as counter:
        run = fit(model, callback, batches=5)
    assert [sample.step for sample in sink.samples] == [2, 4, 6, 8, 10]
    assert run.global_step == 10
    assert column(sink, "loss") == model.losses
    assert column(sink, "grad_norm") == pytest.approx(model.norms, rel=1e-6)
    assert column(sink, "learning_rate") == [0.1] * 5
    assert counter.norms == 5 + 2 * 5  # the module's own, and one for each optimizer


def test_manual_accumulation_averages_the_losses_since_the_last_step():
    model, (callback, sink) = ManualLM(every=2), watch()
    fit(model, callback, batches=6)
    pairs = zip(model.losses[::2], model.losses[1::2], strict=True)
    assert [sample.step for sample in sink.samples] == [2, 4, 6]
    assert column(sink, "loss") == pytest.approx([(first + second) / 2 for first, second in pairs], rel=1e-6)
    assert column(sink, "grad_norm") == pytest.approx(model.norms, rel=1e-6)
    assert [sample.meta for sample in sink.samples] == [None, None, None]


def test_a_loss_that_is_changed_in_place_later_keeps_the_value_it_had():
    class BufferLM(ManualLM):
        buffer = torch.zeros(())

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return {"loss": self.buffer.copy_(loss.detach())}

    model, (callback, sink) = BufferLM(every=2), watch()
    fit(model, callback, batches=4)
    truth = [sum(model.losses[:2]) / 2, sum(model.losses[2:]) / 2]
    assert column(sink, "loss") == pytest.approx(truth, rel=1e-6)


def test_a_manual_step_that_returns_nothing_has_a_norm_and_no_loss():
    callback, sink = watch()
    fit(ManualLM(returns="nothing"), callback, batches=3)
    assert [set(sample.metrics) - {"epoch"} for sample in sink.samples] == [{"grad_norm", "learning_rate"}] * 3


def test_optimizers_that_lightning_does_not_see_are_told_once(caplog):
    class BypassingLM(ManualLM):
        def optimizers(self, use_pl_optimizer=True):
            return super().optimizers(use_pl_optimizer=False)

    callback, sink = watch()
    fit(BypassingLM(), callback, batches=1001)
    assert sink.samples == []
    assert [record.message for record in caplog.records if "no optimizer step was seen" in record.message] == [
        "no optimizer step was seen in 1000 batches, so nothing is watched; in manual optimization step the "
        "optimizers that self.optimizers() returns"
    ]


# Half precision


def half(init_scale):
    return MixedPrecision(
        "16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=2000)
    )


@pytest.mark.parametrize("clip", [None, 0.1])
def test_an_fp16_overflow_is_a_step_with_an_infinite_norm_and_its_loss_scale_and_no_alert(clip):
    class HashingLM(RecordingLM):
        def on_train_batch_end(self, *_):
            self.hashes = [*getattr(self, "hashes", []), fingerprint(self)]

    model, (callback, sink) = HashingLM(), watch()
    before = fingerprint(model)
    run = fit(model, callback, batches=12, plugins=[half(2.0**24)], gradient_clip_val=clip)
    norms, scales = column(sink, "grad_norm"), column(sink, "loss_scale")
    overflowed = [not math.isfinite(norm) for norm in norms]
    assert 2 <= sum(overflowed) <= 10
    assert scales == [2.0 ** (24 - sum(overflowed[:step])) for step in range(12)]
    hashes = [before, *model.hashes]
    assert [old == new for old, new in itertools.pairwise(hashes)] == overflowed
    assert [sample.step for sample in sink.samples] == list(range(1, 13)) and run.global_step == 12
    assert column(sink, "loss") == pytest.approx(model.losses)
    assert norms == pytest.approx(model.norms, rel=1e-6, nan_ok=True)
    assert not [incident for incident in callback.incidents if incident.is_alert]


def test_a_fused_optimizer_that_unscales_by_itself_shows_the_unscaled_norm():
    class FusedLM(RecordingLM):
        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-2, fused=True)

    model, (callback, sink) = FusedLM(), watch()
    fit(model, callback, plugins=[half(2.0**10)])
    truth = [norm / scale for norm, scale in zip(model.norms, column(sink, "loss_scale"), strict=True)]
    assert column(sink, "grad_norm") == pytest.approx(truth, rel=1e-6)
    assert max(truth) < 10


def test_manual_clipping_under_fp16_clips_scaled_gradients_and_the_norm_is_unscaled():
    model, (callback, sink) = ManualLM(clip=10.0), watch()
    fit(model, callback, batches=3, plugins=[half(2.0**10)])
    # Scale and unscale happen within the batch: its norm was taken at the scale the sample names.
    truth = [norm / scale for norm, scale in zip(model.norms, column(sink, "loss_scale"), strict=True)]
    assert column(sink, "grad_norm") == pytest.approx(truth, rel=1e-3)


# Beside what else a trainer has


@pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar])
def test_it_works_alongside_other_callbacks_and_a_csv_logger(bar, tmp_path):
    class LoggingLM(ValidatedLM):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("train_loss", loss, on_epoch=True, prog_bar=True)
            return loss

    callback, sink = watch(tmp_path / "monitor")
    run = trainer(
        EarlyStopping("val_loss", patience=1),
        callback,
        LearningRateMonitor(),
        ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", save_last=True, every_n_train_steps=3),
        bar(),
        enable_checkpointing=True,
        enable_progress_bar=True,
        logger=CSVLogger(tmp_path / "csv"),
        log_every_n_steps=1,
        max_epochs=3,
    )
    run.fit(LoggingLM(), loader(rows(24)), loader(rows(8, seed=5)))
    assert len(sink.samples) == run.global_step == 18
    assert [sample.step for sample in read_run(tmp_path / "monitor")] == list(range(1, 19))
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_panels_go_into_the_event_file_of_the_tensorboard_logger(tmp_path):
    own = TensorBoardLogger(tmp_path / "events")
    callback = MonitorCallback(tmp_path / "monitor", {"console": {"enabled": False}})
    model = TinyLM()
    fit(model, callback, batches=6, logger=own, log_every_n_steps=1)
    events = EventAccumulator(own.log_dir).Reload()
    drawn = events.Scalars("monitor/train/loss")
    assert [scalar.step for scalar in drawn] == [1, 2, 3, 4, 5, 6]
    assert [scalar.value for scalar in drawn] == pytest.approx(model.losses, rel=1e-6)
    assert not list((tmp_path / "monitor").rglob("*tfevents*"))


def test_an_own_event_file_is_written_if_the_loggers_is_not_to_be_shared(tmp_path):
    own = TensorBoardLogger(tmp_path / "events")
    config = {"console": {"enabled": False}, "tensorboard": {"share_writer": False}}
    fit(TinyLM(), MonitorCallback(tmp_path / "monitor", config), batches=6, logger=own, log_every_n_steps=1)
    assert not [tag for tag in EventAccumulator(own.log_dir).Reload().Tags()["scalars"] if "train/loss" in tag]
    assert len(list((tmp_path / "monitor").rglob("*tfevents*"))) == 1


def test_a_checkpoint_is_marked_in_the_run_log_so_that_resuming_from_it_is_quick(tmp_path):
    callback, _ = watch(tmp_path / "monitor")
    checkpoint = ModelCheckpoint(tmp_path, every_n_train_steps=1100)
    fit(TinyLM(), callback, checkpoint, batches=1200, enable_checkpointing=True)
    snapshots = [r["step"] for r in read_records(tmp_path / "monitor" / "run.jsonl") if r["type"] == "snapshot"]
    assert snapshots == [1100]


def test_a_checkpoint_holds_nothing_of_the_monitor(tmp_path):
    callback, _ = watch(tmp_path / "monitor")
    fit(TinyLM(), callback, ModelCheckpoint(tmp_path, filename="saved"), enable_checkpointing=True)
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=False)
    assert not [key for key in saved["callbacks"] if "Monitor" in key]
    assert "pretrain_monitor" not in str(saved["callbacks"])


# Training is left alone


@pytest.mark.parametrize(
    "options", [{}, {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}]
)
def test_training_is_bitwise_the_same_with_and_without_the_monitor(options, tmp_path):
    def trained(*callbacks):
        L.seed_everything(3, verbose=False)
        model = ValidatedLM(dropout=0.1)
        trainer(*callbacks, max_epochs=3, **options).fit(model, loader(rows(40), shuffle=True), loader(rows(8)))
        return model

    watched = trained(watch(tmp_path)[0])
    assert fingerprint(watched) == fingerprint(trained())
    assert fingerprint(watched) != fingerprint(TinyLM(dropout=0.1))


@pytest.mark.parametrize("make", [TinyLM, lambda: ManualLM(clip=0.1)])
def test_the_hot_path_never_reads_a_value_from_the_device(make, tmp_path):
    callback, sink = watch(tmp_path)
    with HostReads() as reads:
        options = {} if make is not TinyLM else {"gradient_clip_val": 0.1, "plugins": [half(2.0**10)]}
        fit(make(), callback, **options)
    assert reads.places == []
    assert len(sink.samples) == 7


def test_the_search_for_device_reads_finds_one():
    callback, _ = watch(count_tokens=lambda batch: int(batch["input_ids"].sum()))
    with HostReads() as reads:
        fit(TinyLM(), callback, batches=3)
    assert len(reads.places) == 3


def test_micro_batches_are_added_up_on_the_device():
    # A device without one: these tensors say they are on "cuda:0" and hold no values, so reading one is an error.
    with FakeTensorMode():
        ids = torch.zeros(4, 8, dtype=torch.int64, device="cuda")
        batch = {"input_ids": ids, "attention_mask": ids, "labels": ids}
        window = StepWindow(is_weighted=True)
        for dtype in (torch.float32, torch.bfloat16):
            loss = torch.ones((), dtype=dtype, device="cuda")
            window.add({"loss": loss}, batch, tokens_of(batch))
        assert {value.device.type for value in (window.loss, window.tokens, window.weight)} == {"cuda"}
        assert window.loss.dtype is torch.float32


def test_a_users_token_count_that_fails_costs_the_count_only(caplog):
    callback, sink = watch(count_tokens=lambda batch: batch["no such key"])
    model = TinyLM()
    fit(model, callback, batches=3)
    assert column(sink, "loss") == model.losses
    assert [sample.tokens_seen for sample in sink.samples] == [None, None, None]
    assert [record.message for record in caplog.records if record.exc_info] == [
        "count_tokens failed and is switched off; training goes on"
    ]


class BrokenPlugin(MixedPrecision):
    """Stands for a Lightning that is not what the adapter was written for."""

    @property
    def scaler(self):
        if any(frame.name == "loss_scale_of" for frame in traceback.extract_stack()):
            raise RuntimeError("no such thing here")
        return None

    @scaler.setter
    def scaler(self, value):
        pass


def test_a_hook_that_fails_at_every_step_is_told_once_and_the_others_go_on(caplog):
    model, (callback, sink) = TinyLM(), watch()
    fit(model, callback, batches=5, plugins=[BrokenPlugin("bf16-mixed", "cpu")])
    assert len(model.losses) == 5
    assert column(sink, "loss") == model.losses
    assert [record.message for record in caplog.records if record.exc_info] == [
        "the monitor failed in on_before_optimizer_step; training goes on"
    ]


def test_a_failure_while_the_trainer_clips_is_told_once_and_training_goes_on(caplog):
    model, (callback, sink) = ManualLM(clip=0.1), watch()
    fit(model, callback, batches=5, plugins=[BrokenPlugin("bf16-mixed", "cpu")])
    assert column(sink, "loss") == model.losses
    assert [record.message for record in caplog.records if record.exc_info] == [
        "the monitor failed to keep a gradient norm; training goes on",
        "the monitor failed in on_before_optimizer_step; training goes on",
    ]


@pytest.mark.parametrize(
    "name", [name for name in vars(MonitorCallback) if name.startswith("on_") or name == "teardown"]
)
def test_no_hook_lets_an_exception_out(name, caplog):
    # Nothing fits: neither a trainer nor a module nor a monitor that works.
    callback, _ = watch()
    callback._gather = callback._clipping = callback._probes = object()
    callback._saved_step = callback._step
    getattr(callback, name)(None, *[None] * (getattr(MonitorCallback, name).__wrapped__.__code__.co_argcount - 2))
    assert [record.message for record in caplog.records] == [f"the monitor failed in {name}; training goes on"]


def test_a_sink_that_raises_and_a_run_directory_that_is_a_file_do_not_stop_training(caplog, tmp_path):
    class BrokenSink:
        def on_sample(self, sample):
            raise OSError("no")

    (tmp_path / "taken").write_text("")
    model = TinyLM()
    fit(model, MonitorCallback(tmp_path / "taken", QUIET, sinks=[BrokenSink()]))
    assert len(model.losses) == 7
    assert any("is a file, not a directory" in record.message for record in caplog.records)


def test_lightnings_own_clipping_is_put_back(tmp_path):
    run = fit(TinyLM(), watch(tmp_path)[0], gradient_clip_val=0.1)
    assert "clip_grad_by_norm" not in vars(run.precision_plugin)


# Ends and beginnings


class FailingLM(TinyLM):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def training_step(self, batch, batch_idx):
        if batch_idx == 4:
            raise self.error
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [(KeyError("x"), KeyError, "crashed: KeyError"), (KeyboardInterrupt(), SystemExit, "interrupted")],
)
def test_a_run_that_ends_early_leaves_a_complete_log_and_says_why(error, raised, reason, tmp_path):
    callback, sink = watch(tmp_path)
    with pytest.raises(raised):
        fit(FailingLM(error), callback, gradient_clip_val=0.1)
    assert [sample.step for sample in read_run(tmp_path)] == [1, 2, 3, 4]
    assert [record["reason"] for record in read_records(tmp_path / "run.jsonl") if record["type"] == "end"] == [reason]
    assert sink.is_closed and not callback.monitor.is_running


def test_a_normal_end_closes_everything(tmp_path):
    callback, sink = watch(tmp_path)
    fit(TinyLM(), callback)
    assert [record["reason"] for record in read_records(tmp_path / "run.jsonl") if record["type"] == "end"] == [
        "finished"
    ]
    assert sink.is_closed and not callback.monitor.is_running


def test_a_second_fit_goes_on_where_the_first_of_the_same_trainer_ended(tmp_path):
    callback, sink = watch(tmp_path)
    model, run = TinyLM(), trainer(callback, max_epochs=1)
    run.fit(model, loader(rows(20)))
    run.fit_loop.max_epochs = 2
    run.fit(model, loader(rows(20)))
    assert [sample.step for sample in sink.samples] == list(range(1, 11))
    assert [sample.step for sample in read_run(tmp_path)] == list(range(1, 11))
    assert [sample.tokens_seen for sample in sink.samples][-1] == 10 * 32


def test_a_fit_from_scratch_supersedes_what_the_run_directory_held(tmp_path):
    callback, _ = watch(tmp_path)
    fit(TinyLM(), callback, batches=6)
    second = TinyLM(lr=0.1)
    fit(second, callback, batches=4)
    samples = list(read_run(tmp_path))
    assert [sample.step for sample in samples] == [1, 2, 3, 4]
    assert [sample.metrics["loss"] for sample in samples] == second.losses


def test_testing_and_validating_alone_start_nothing(tmp_path):
    callback, sink = watch(tmp_path)
    trainer(callback).validate(ValidatedLM(), loader(rows(8)), verbose=False)
    assert sink.samples == [] and list(tmp_path.iterdir()) == []


# Where the killed run left its checkpoints, and the resumed one reads them.
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_killed_and_resumed_has_the_same_incidents_and_samples_as_an_uninterrupted_one(tmp_path):
    (tmp_path / "killed").mkdir()
    killed = subprocess.run(
        [sys.executable, HERE / "lightning_killed.py", tmp_path / "killed", "236"], capture_output=True, timeout=120
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert [sample.step for sample in read_run(tmp_path / "killed" / "monitor")][-1] == 236  # nothing is lost
    checkpoints = sorted((tmp_path / "killed").glob("*.ckpt"), key=lambda path: int(path.stem.split("step=")[1]))
    assert checkpoints[-1].stem.endswith(f"step={11 * BATCHES_PER_EPOCH}")
    resumed = train(tmp_path / "killed", ckpt_path=checkpoints[-1])
    whole = train(tmp_path / "whole")

    resumed_samples, whole_samples = (list(read_run(tmp_path / name / "monitor")) for name in ("killed", "whole"))
    assert [sample.step for sample in resumed_samples] == list(range(1, STEPS + 1))
    assert [sample.metrics for sample in resumed_samples] == [sample.metrics for sample in whole_samples]
    assert [sample.tokens_seen for sample in resumed_samples] == [sample.tokens_seen for sample in whole_samples]
    assert len([incident for incident in whole.incidents if incident.is_alert]) == 1
    assert resumed.incidents == whole.incidents
    assert replay(tmp_path / "killed" / "monitor") == replay(tmp_path / "whole" / "monitor")


def test_without_lightning_the_import_says_what_to_install():
    program = "import sys; sys.modules['lightning'] = None; import pretrain_monitor.callbacks.lightning"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert run.stderr.strip().splitlines()[-1] == (
        "ImportError: MonitorCallback needs lightning: pip install 'pretrain-monitor[lightning]'"
    )


def test_a_wrong_setting_is_refused_before_training():
    with pytest.raises(ValueError, match="did you mean 'warmup_steps'"):
        MonitorCallback(None, {"warmup_step": 100})


def test_what_is_announced_begins_with_the_next_step():
    class Announcing(TinyLM):
        def training_step(self, batch, batch_idx):
            if batch_idx == 3:
                callback.announce("begins with step 4")
            return super().training_step(batch, batch_idx)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 4:
                callback.announce("begins with step 6")

    callback, sink = watch()
    callback.announce("begins with step 1")
    fit(Announcing(), callback)
    told = [(s.step, said["text"]) for s in sink.samples if s.meta for said in s.meta["announced"]]
    assert told == [(n, f"begins with step {n}") for n in (1, 4, 6)]


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({}, None),
        ({"gradient_clip_val": 0.5}, 0.5),
        ({"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"}, None),
    ],
)
def test_the_run_log_says_what_gradients_are_clipped_to(clip, expected, tmp_path):
    callback, _ = watch(tmp_path)
    fit(TinyLM(), callback, batches=2, **clip)
    (begun,) = [record for record in read_records(tmp_path / "run.jsonl") if record["type"] == "run"]
    assert begun.get("max_grad_norm") == expected
