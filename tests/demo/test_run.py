import functools
import math
from importlib.util import find_spec

import pytest
import torch

from pretrain_monitor import read_run, replay
from pretrain_monitor.demo import FRAMEWORKS, model, run, run_demo
from pretrain_monitor.demo.plan import plan_run
from pretrain_monitor.telemetry import Kind

NAN_STEPS = 20


def training_samples(run_dir):
    return [sample for sample in read_run(run_dir) if "loss" in sample.metrics]


@pytest.fixture(scope="module", autouse=True)
def small():
    """The same architecture at a twentieth of the size, on one thread, so that hundreds of steps take seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "GPT", functools.partial(model.GPT, layers=2, width=48, heads=2))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def nan_runs(tmp_path_factory, small):
    """One short run with a NaN in each framework: exit code and run directory."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: (run_demo(name, "nan", NAN_STEPS, folder / name), folder / name) for name in FRAMEWORKS}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_nan_is_one_critical_incident_in_every_framework(nan_runs, framework):
    code, run_dir = nan_runs[framework]
    assert code == 0
    samples = training_samples(run_dir)
    assert [sample.step for sample in samples] == list(range(1, NAN_STEPS + 1))
    fault_step = plan_run("nan", NAN_STEPS).fault_step
    # The weights are gone with it: no later loss is a number.
    lost = [sample.step for sample in samples if math.isnan(sample.metrics["loss"])]
    assert lost == list(range(fault_step, NAN_STEPS + 1))
    incidents = replay(run_dir)
    assert [(str(i.kind), str(i.severity), i.onset_step, i.detected_step) for i in incidents] == [
        ("nonfinite", "critical", fault_step, fault_step)
    ]


def test_all_frameworks_train_the_same_steps(nan_runs):
    finite = plan_run("nan", NAN_STEPS).fault_step - 1
    curves = []
    for _, run_dir in nan_runs.values():
        samples = training_samples(run_dir)[:finite]
        curves.append([sample.metrics[name] for sample in samples for name in ("loss", "grad_norm", "learning_rate")])
        assert samples[-1].tokens_seen == finite * 24 * 64
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    assert curves[0] == pytest.approx(curves[2], rel=1e-5)


def test_a_healthy_run_raises_no_alert_and_learns(tmp_path, capsys):
    assert run_demo("torch", "none", 320, tmp_path / "run") == 0
    assert not [incident for incident in replay(tmp_path / "run") if incident.is_alert]
    losses = [sample.metrics["loss"] for sample in training_samples(tmp_path / "run")]
    assert losses[-1] < losses[0] - 2
    assert "no fault: expect no alert" in capsys.readouterr().out
    bits = [s.metrics["heldout/code/bits_per_byte"] for s in read_run(tmp_path / "run") if "loss" not in s.metrics]
    assert bits[0] == pytest.approx(8, abs=0.5)  # of a byte, before training
    assert bits[-1] < 4.5


@pytest.mark.parametrize("fault", ["lr", "batch", "domain"])
def test_every_other_fault_is_one_alert_near_the_step_that_was_announced(tmp_path, capsys, fault):
    assert run_demo("torch", fault, 340, tmp_path / "run") == 0
    fault_step = plan_run(fault, 340).fault_step
    incidents = [incident for incident in replay(tmp_path / "run") if incident.is_alert]
    # What the training did, and what became of what was known before.
    alerts = [incident for incident in incidents if incident.kind is not Kind.RETENTION_LOSS]
    forgotten = {signal for incident in incidents for signal in incident.signals if incident not in alerts}
    assert forgotten <= ({"heldout/code/bits_per_byte"} if fault == "domain" else set())
    assert len(alerts) == 1
    assert abs(alerts[0].onset_step - fault_step) <= 4
    assert fault_step <= alerts[0].detected_step <= fault_step + (40 if fault == "domain" else 11)
    assert f"the fault: at step {fault_step} " in capsys.readouterr().out


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert run_demo("torch", "none", 5, tmp_path / name, seed=seed) == 0
    a, b, c = ([dict(sample.metrics) for sample in training_samples(tmp_path / name)] for name in "abc")
    assert a == b
    assert a != c


def test_the_end_names_a_fresh_run_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run_demo("torch", "none", 3) == 0
    shown = capsys.readouterr().out
    for name in ("demo-torch-none", "demo-torch-none-2"):
        assert (tmp_path / "runs" / name / "run.jsonl").exists()
        assert f"run directory: runs/{name}\n" in shown
        assert shown.count(f"pretrain-monitor tensorboard runs/{name}\n") == 1


def test_what_to_type_next_is_said_once_after_alerts_too(tmp_path, capfd):
    assert run_demo("torch", "nan", 6, tmp_path / "run") == 0
    shown = capfd.readouterr().out
    assert shown.count(f"pretrain-monitor tensorboard {tmp_path / 'run'}\n") == 1
    assert shown.count(f"run directory: {tmp_path / 'run'}\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("jax", "lr", None), 'unknown framework "jax"; choose one of hf, lightning, torch'),
        (("torch", "spike", None), 'unknown fault "spike"; choose one of lr, batch, nan, domain, none'),
        (("torch", "none", 0), "--steps 0 is too short for a run; give at least 2"),
        (("torch", "none", -5), "--steps -5 is too short for a run; give at least 2"),
    ],
)
def test_what_cannot_be_run_is_refused_with_one_line(tmp_path, capsys, arguments, line):
    assert run_demo(*arguments, tmp_path / "run") == 2
    shown = capsys.readouterr()
    assert shown.err.rstrip() == line
    assert not shown.out
    assert not (tmp_path / "run").exists()


def test_a_missing_framework_is_refused_with_the_extra_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == "lightning" else find_spec(name))
    assert run_demo("lightning", "none", 3, tmp_path / "run") == 2
    line = "--framework lightning needs lightning: pip install 'pretrain-monitor[lightning]'"
    assert capsys.readouterr().err.rstrip() == line


def test_an_interrupted_demo_says_where_its_log_is(tmp_path, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("pretrain_monitor.callbacks.loop.LoopMonitor.step", interrupt)
    assert run_demo("torch", "none", 50, tmp_path / "run") == 130
    assert f"interrupted; what was seen until then is in {tmp_path / 'run'}" in capsys.readouterr().out
