"""Plain PyTorch and Fabric loops in one process; several ranks are in test_loop_ranks.py."""

import hashlib
import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch
from forked import FRAMEWORKS, forker
from torch import nn
from torch.nn import functional as F

from pretrain_monitor import ListSink, read_run, replay
from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.config import ConfigError
from pretrain_monitor.records import read_events, read_records

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
PROGRAM = Path(__file__).with_name("loop_program.py")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sink():
    return ListSink()


def watch(sink, **options):
    return LoopMonitor(None, QUIET, sinks=[sink], **options)


def model_and_optimizer(lr=0.1, optimizer=torch.optim.SGD):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(16, 8), nn.Dropout(0.1), nn.Linear(8, 16))
    return model, optimizer(model.parameters(), lr=lr)


def loss_of(model, step):
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(16, (4, 9), generator=generator)
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def backward_and_clip(model, step):
    model.zero_grad()
    loss = loss_of(model, step)
    loss.backward()
    return loss, nn.utils.clip_grad_norm_(model.parameters(), 0.1)


def test_each_step_has_the_loss_the_norm_before_clipping_and_the_rate(sink):
    model, optimizer = model_and_optimizer()
    expected = []
    with watch(sink) as monitor:
        for step in range(5):
            loss, norm = backward_and_clip(model, step)
            optimizer.step()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=32)
            expected.append({"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": 0.1})
    assert [sample.metrics for sample in sink.samples] == expected
    assert [sample.step for sample in sink.samples] == [1, 2, 3, 4, 5]
    assert [sample.tokens_seen for sample in sink.samples] == [32, 64, 96, 128, 160]
    assert all(sample.metrics["grad_norm"] > 0.1 for sample in sink.samples)


def test_plain_numbers_do(sink):
    with watch(sink) as monitor:
        monitor.step(2.5, 0.5, learning_rate=0.1)
    assert sink.samples[0].metrics == {"loss": 2.5, "grad_norm": 0.5, "learning_rate": 0.1}


def test_with_accumulation_there_is_one_sample_per_optimizer_step(sink):
    model, optimizer = model_and_optimizer()
    losses = []
    with watch(sink) as monitor:
        for step in range(3):
            optimizer.zero_grad()
            total = 0.0
            for micro in range(4):
                loss = loss_of(model, 10 * step + micro) / 4
                loss.backward()
                total += loss.detach()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(total.item())
            monitor.step(loss=total, grad_norm=norm, optimizer=optimizer, tokens=4 * 32)
    assert [sample.metrics["loss"] for sample in sink.samples] == losses
    assert [sample.tokens_seen for sample in sink.samples] == [128, 256, 384]


@pytest.mark.parametrize("scheduler_first", [True, False])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_the_rate_is_the_one_used_wherever_the_scheduler_steps(sink, scheduler_first, as_tensor):
    lr = torch.tensor(0.5) if as_tensor else 0.5
    model, optimizer = model_and_optimizer(lr, torch.optim.AdamW)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    used = []
    with watch(sink) as monitor:
        for step in range(4):
            loss, _ = backward_and_clip(model, step)
            used.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            if scheduler_first:
                scheduler.step()
            monitor.step(loss=loss, optimizer=optimizer)
            if not scheduler_first:
                scheduler.step()
    assert used == pytest.approx([0.5, 0.25, 0.5 / 3, 0.125])
    assert [sample.metrics["learning_rate"] for sample in sink.samples] == used


def test_of_several_groups_and_optimizers_the_largest_rate_counts(sink):
    model, _ = model_and_optimizer()
    groups = [{"params": [model[0].weight], "lr": 0.01}, {"params": [model[2].weight], "lr": torch.tensor(0.5)}]
    two = [torch.optim.AdamW(groups), torch.optim.SGD([model[2].bias], lr=0.75)]
    with watch(sink) as monitor:
        loss, _ = backward_and_clip(model, 0)
        for optimizer in two:
            optimizer.step()
        monitor.step(loss=loss, optimizer=two[0])
        monitor.step(loss=loss, optimizer=two)
    assert [sample.metrics["learning_rate"] for sample in sink.samples] == [0.5, 0.75]


def test_a_closure_is_no_obstacle(sink):
    model, optimizer = model_and_optimizer(0.5, torch.optim.LBFGS)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model.eval(), 0)
        loss.backward()
        return loss

    losses = []
    with watch(sink) as monitor:
        for _ in range(3):
            loss = optimizer.step(closure)
            scheduler.step()
            losses.append(loss.item())
            monitor.step(loss=loss, optimizer=optimizer)
    assert [sample.metrics for sample in sink.samples] == [
        {"loss": loss, "learning_rate": rate} for loss, rate in zip(losses, [0.5, 0.25, 0.125], strict=True)
    ]


def test_an_optimizer_without_a_rate_is_told_once_and_the_loss_still_counts(sink, caplog):
    with caplog.at_level(logging.WARNING), watch(sink) as monitor:
        monitor.step(loss=2.0, optimizer="adam")
        monitor.step(loss=1.9, optimizer="adam")
    assert [sample.metrics for sample in sink.samples] == [{"loss": 2.0}, {"loss": 1.9}]
    assert len([r for r in caplog.records if "no learning rate" in r.getMessage()]) == 1


def test_strange_parameter_groups_do_not_reach_into_the_users_step(sink):
    model, optimizer = model_and_optimizer()
    optimizer.param_groups[0]["comment"] = "kept"
    with watch(sink) as monitor:
        loss, _ = backward_and_clip(model, 0)
        optimizer.step()
        del optimizer.param_groups[0]["lr"]
        with pytest.raises(KeyError, match="lr"):
            optimizer.step()  # torch's own complaint, and not one of ours
        monitor.step(loss=loss, optimizer=optimizer)
    assert sink.samples[0].metrics == {"loss": loss.item()}


def test_a_loss_scaler_that_backs_off_is_no_incident(sink):
    # Float16 gradients overflow at this scale, so the first steps are skipped while it halves.
    model, optimizer = model_and_optimizer()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    with watch(sink) as monitor:
        for step in range(40):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = loss_of(model, step)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scale = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, metrics={"loss_scale": scale})
            if scaler.get_scale() >= scale:
                scheduler.step()
    norms = [sample.metrics["grad_norm"] for sample in sink.samples]
    skipped = sum(not math.isfinite(norm) for norm in norms)
    assert skipped >= 2, "the test must see overflows"
    assert math.isfinite(norms[-1])
    assert sink.samples[0].metrics["loss_scale"] == 2.0**24
    assert sink.samples[-1].metrics["learning_rate"] == pytest.approx(0.1 * 0.9 ** (39 - skipped))
    assert monitor.incidents == []


def test_fabric_is_watched_like_plain_pytorch(sink):
    fabric = lightning.Fabric(accelerator="cpu", devices=1)
    model, optimizer = fabric.setup(*model_and_optimizer(0.5))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    expected = []
    with watch(sink) as monitor:
        for step in range(3):
            loss = loss_of(model, step)
            fabric.backward(loss)
            norm = fabric.clip_gradients(model, optimizer, max_norm=0.1)
            optimizer.step()
            scheduler.step()
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer)
            optimizer.zero_grad()
            expected.append({"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": 0.5 ** (step + 1)})
    assert [sample.metrics for sample in sink.samples] == expected
    assert all(values["grad_norm"] > 0.1 for values in expected)


def weights_after_training(monitor=None):
    model, optimizer = model_and_optimizer(0.01, torch.optim.AdamW)
    for step in range(30):
        loss, norm = backward_and_clip(model, step)
        optimizer.step()
        if monitor is not None:
            monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=32)
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest(), torch.get_rng_state()


def test_training_is_bitwise_the_same_with_and_without(tmp_path):
    bare, bare_random = weights_after_training()
    with LoopMonitor(tmp_path / "run", QUIET) as monitor:
        watched, watched_random = weights_after_training(monitor)
    assert watched == bare
    assert torch.equal(watched_random, bare_random)
    assert len(list(read_run(tmp_path / "run"))) == 30


# The compiler imports parts of torch that use other parts it has deprecated.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_a_compiled_optimizer_step_still_tells_its_rate(sink):
    model, optimizer = model_and_optimizer(0.5, torch.optim.AdamW)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    step_compiled = torch.compile(optimizer.step, backend="eager")
    with watch(sink) as monitor:
        for step in range(3):
            loss, _ = backward_and_clip(model, step)
            step_compiled()
            scheduler.step()
            monitor.step(loss=loss, optimizer=optimizer)
    assert [sample.metrics["learning_rate"] for sample in sink.samples] == [0.5, 0.25, 0.125]


def test_a_wrong_setting_is_refused_at_the_door():
    with pytest.raises(ConfigError, match="did you mean 'warmup_steps'"):
        LoopMonitor(None, {"warmup_step": 100})


@pytest.mark.parametrize("start_step", [None, -1, "7", 2.5])
def test_a_start_step_that_is_no_step_is_refused_at_the_door(start_step):
    with pytest.raises(ConfigError) as refused:
        LoopMonitor(None, QUIET, start_step=start_step)
    assert str(refused.value) == (f"start_step = {start_step!r}: give the optimizer steps already completed, 0 or more")


def test_steps_after_close_are_ignored_and_told_once(tmp_path, caplog):
    monitor = LoopMonitor(tmp_path / "run", QUIET)
    monitor.step(loss=1.0)
    monitor.close()
    monitor.close()
    with caplog.at_level(logging.WARNING):
        monitor.step(loss=1.0)
        monitor.step(loss=1.0)
    assert [sample.step for sample in read_run(tmp_path / "run")] == [1]
    assert len([r for r in caplog.records if "after close() is ignored" in r.getMessage()]) == 1


def test_a_closed_monitor_leaves_no_hook_behind():
    from torch.optim.optimizer import _global_optimizer_pre_hooks

    before = len(_global_optimizer_pre_hooks)
    monitor = LoopMonitor(None, QUIET)
    assert len(_global_optimizer_pre_hooks) == before + 1
    monitor.close()
    assert len(_global_optimizer_pre_hooks) == before


def end_of(run_dir):
    *_, last = read_records(run_dir / "run.jsonl")
    return last["type"], last.get("reason")


def test_an_exception_in_the_with_block_is_logged_as_a_crash_and_passes_through(tmp_path):
    with pytest.raises(ZeroDivisionError), LoopMonitor(tmp_path / "run", QUIET) as monitor:
        monitor.step(loss=1.0)
        _ = 1 / 0
    assert end_of(tmp_path / "run") == ("end", "crashed: ZeroDivisionError")


def program(directory, *options):
    directory.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(directory), *options], capture_output=True, text=True, timeout=120
    )


def forked_program(directory, *options):
    directory.mkdir(exist_ok=True)
    return forker(*FRAMEWORKS).run(PROGRAM, [directory, *options], timeout=120)


@pytest.mark.parametrize(
    ("options", "returncode", "reason"),
    [
        (("--end", "nothing"), 0, "process exit"),
        (("--end", "sys.exit"), 0, "process exit"),
        (("--end", "interrupt"), 130, "interrupted"),
        (("--end", "with", "--raise-at", "15"), 1, "crashed: ValueError"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_however_the_process_ends_the_log_is_whole_and_says_how(tmp_path, options, returncode, reason):
    # What Python itself does at its end takes a process of its own.
    start = program if reason in ("process exit", "interrupted") and "sys.exit" not in options else forked_program
    ended = start(tmp_path / "a", "--steps", "20", *options)
    # Python turns an uncaught KeyboardInterrupt into death by SIGINT.
    assert ended.returncode in (returncode, -2 if returncode == 130 else returncode), ended.stderr
    steps = [sample.step for sample in read_run(tmp_path / "a" / "run")]
    assert steps == list(range(1, 16 if returncode == 1 else 21))
    assert end_of(tmp_path / "a" / "run") == ("end", reason)


def facts(run_dir):
    """What a run's log tells, less the wall clock and the marks of resuming."""
    samples = [(s.step, dict(s.metrics), s.tokens_seen) for s in read_run(run_dir)]
    last = {event.incident_id: event.incident.to_json() for event in read_events(run_dir / "run.jsonl")}
    return samples, last


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_tells_what_an_uninterrupted_one_tells(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert forked_program(whole).returncode == 0
    # The first kill falls into the incident, before it is clear how it ends; the second after it.
    for kill_at in ("260", "345"):
        assert forked_program(killed, "--kill-at", kill_at).returncode == -9
    resumed = forked_program(killed)
    assert resumed.returncode == 0, resumed.stderr

    samples, incidents = facts(whole / "run")
    assert [step for step, _, _ in samples] == list(range(1, 401))
    assert any(incident["severity"] != "info" for incident in incidents.values()), "the run must have an alert"
    assert facts(killed / "run") == (samples, incidents)
    assert samples[-1][2] == 400 * 32
    assert [i.to_json() for i in replay(killed / "run")] == [i.to_json() for i in replay(whole / "run")]
    lines = [json.loads(line) for line in (killed / "run" / "run.jsonl").read_text().splitlines()]
    assert [line["resumed_from"] for line in lines if line["type"] == "run"] == [None, 200, 300]


def test_tokens_are_unknown_after_resuming_a_run_whose_log_is_elsewhere(tmp_path, sink):
    with LoopMonitor(tmp_path / "new", QUIET, sinks=[sink], start_step=100) as monitor:
        monitor.step(loss=1.0, tokens=32)
    assert (sink.samples[0].step, sink.samples[0].tokens_seen) == (101, None)


def test_tokens_are_unknown_if_the_log_does_not_reach_the_restored_step(tmp_path, sink):
    with LoopMonitor(tmp_path / "run", QUIET) as monitor:
        for _ in range(3):
            monitor.step(loss=1.0, tokens=32)
    with LoopMonitor(tmp_path / "run", QUIET, sinks=[sink], start_step=5) as monitor:
        monitor.step(loss=1.0, tokens=32)
    assert (sink.samples[0].step, sink.samples[0].tokens_seen) == (6, None)


def test_a_forked_child_that_exits_leaves_the_log_of_its_parent_alone(tmp_path):
    monitor = LoopMonitor(tmp_path / "run", QUIET)
    monitor.step(loss=1.0)
    child = os.fork()
    if child == 0:
        monitor._at_exit()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    monitor.step(loss=0.9)
    monitor.close()
    kinds = [json.loads(line)["type"] for line in (tmp_path / "run" / "run.jsonl").read_text().splitlines()]
    assert kinds == ["run", "sample", "sample", "end"]


def announced(samples):
    return [(s.step, said["step"], said["text"]) for s in samples if s.meta for said in s.meta.get("announced", [])]


def test_what_is_announced_begins_with_the_next_step(tmp_path, caplog):
    with LoopMonitor(tmp_path, QUIET) as monitor:
        for step in range(10):
            if step == 4:
                monitor.announce("stage 2")
            if step == 7:
                monitor.announce("longer", step=20, what="sequence_length")
                monitor.announce("")
            monitor.step(loss=2.0)
    monitor.announce("too late")
    assert announced(read_run(tmp_path)) == [(5, 5, "stage 2"), (8, 20, "longer")]
    assert [r.getMessage() for r in caplog.records] == [
        "announce is left out: text = '': say in a few words what changes",
        "announce() after close() is ignored",
    ]


def test_the_run_log_says_what_gradients_are_clipped_to(tmp_path):
    LoopMonitor(tmp_path, QUIET, max_grad_norm=0.5).close()
    (begun,) = [record for record in read_records(tmp_path / "run.jsonl") if record["type"] == "run"]
    assert begun["max_grad_norm"] == 0.5
