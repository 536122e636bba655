"""What the monitor costs a training, paired with the bare trainer in one process.

Short trainings of the same model run in turn, bare and monitored, bare and monitored ...; each pair gives one ratio of
median step times, so a machine whose speed drifts does not matter. Beside it stands what the monitor itself used: time
spent in its hooks on the training thread, which no noise can hide. A detector that is warming up does other things than
in the long run, so the hooks are told twice: over the first 50 steps of a run, and after the detector alone was given
700 samples. Ratio and share of a step are those of the long run.

With ``--all`` the monitored trainings have messages and actions on too; what these cost is the difference between the
hooks of both tables.

    python benchmarks/overhead.py [--framework hf|lightning|loop] [--pairs N] [--size large|small] [--all]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pretrain_monitor import InstabilityDetector, Monitor, Sample
from pretrain_monitor.demo.model import GPT, VOCABULARY

# 14.6 M and 0.9 M parameters; on two cores a step takes some 120 and 70 ms.
SIZES = {
    "large": {"model": {"layers": 6, "width": 448, "heads": 7, "context": 128}, "batch": 1, "steps": 60},
    "small": {"model": {"layers": 4, "width": 128, "heads": 4, "context": 128}, "batch": 8, "steps": 100},
}
SETTLE = 5  # first steps of each training, left out
EARLY_STEPS = 50
SEEN = 700  # samples after which the early rules are over and all gains have settled
QUIET: dict[str, Any] = {"console": {"enabled": False}}
ALL: dict[str, Any] = {
    "notify": {"urls": ["json://127.0.0.1:9/nobody"], "digest_minutes": 60.0},
    "actions": [
        {"do": "skip_step", "extreme_sd": 12.0},
        {"do": "checkpoint", "save": False},
        {"do": "rewind", "then": "tell"},
    ],
}


class Measured(NamedTuple):
    """Medians per step, in seconds."""

    step: float
    hooks: float


class Clock:
    """Times of optimizer steps, taken by the cheapest hook each framework has, and of the monitor's hooks in them.

    Args:
        seen: samples that the detector is given before the first step.
    """

    def __init__(self, seen: int) -> None:
        self.meter = Meter()
        self._seen = seen
        self.monitor: Monitor | None = None
        self._ends: list[float] = []
        self._hooks: list[float] = []

    def tick(self) -> None:
        if self.monitor is not None and not self._ends:
            give(self.monitor.detector, self._seen)
        self._ends.append(time.perf_counter())
        self._hooks.append(self.meter.seconds)

    def medians(self) -> Measured:
        return Measured(_median_difference(self._ends), _median_difference(self._hooks))


def _median_difference(times: list[float]) -> float:
    return statistics.median([later - earlier for earlier, later in itertools.pairwise(times)][SETTLE:])


def give(detector: InstabilityDetector, samples: int) -> None:
    """Let a detector see samples so noisy that the first of the training are no incident: an open one costs more."""
    chance = random.Random(0)
    for _ in range(samples):
        detector.update(Sample(0, {"loss": chance.gauss(5.6, 0.5), "grad_norm": chance.lognormvariate(1, 1.5)}))


class Meter:
    """Time the training thread spends in the monitor's hooks, by wrapping the methods the trainer calls."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._is_inside = False

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return function(*args, **kwargs)
            self._is_inside = True
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began
                self._is_inside = False

        return timed

    def wrap_hooks(self, owner: Any, names: tuple[str, ...]) -> None:
        for name in names:
            setattr(owner, name, self.wrap(getattr(owner, name)))


class Tokens(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __init__(self, size: dict[str, Any], rows: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (rows, size["model"]["context"])
        self._data = torch.randint(0, VOCABULARY, shape, generator=generator)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._data[index], "labels": self._data[index]}


def train_hf(size: dict[str, Any], run_dir: Path | None, seen: int = SEEN) -> Measured:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from pretrain_monitor.callbacks.huggingface import MonitorCallback

    clock = Clock(seen)
    meter = clock.meter

    class Tick(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), max_steps=size["steps"], per_device_train_batch_size=size["batch"], use_cpu=True,
        save_strategy="no", report_to=[], logging_steps=500, disable_tqdm=True, max_grad_norm=1.0,
    )  # fmt: skip
    trainer = Trainer(
        model=GPT(**size["model"]),
        args=arguments,
        train_dataset=Tokens(size, size["steps"] * size["batch"]),
        callbacks=[Tick()],
    )
    if run_dir is not None:
        callback = MonitorCallback(run_dir, QUIET)
        hooks = ("on_step_begin", "on_substep_end", "on_pre_optimizer_step", "on_step_end", "on_log")
        clock.monitor = callback.monitor
        meter.wrap_hooks(callback, hooks)
        meter.wrap_hooks(callback._exact, ("_see_inputs", "_see_loss", "_see_norm"))
        callback.attach(trainer)
    trainer.train()
    return clock.medians()


def train_lightning(size: dict[str, Any], run_dir: Path | None, seen: int = SEEN) -> Measured:
    import lightning

    from pretrain_monitor.callbacks.lightning import MonitorCallback

    clock = Clock(seen)
    meter = clock.meter

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = GPT(**size["model"])

        def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
            loss: torch.Tensor = self.model(**batch)["loss"]
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=3e-4)

    class Tick(lightning.Callback):  # type: ignore[misc]
        def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    callbacks: list[Any] = [Tick()]
    if run_dir is not None:
        callback = MonitorCallback(run_dir, QUIET)
        hooks = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end", "on_before_zero_grad")
        clock.monitor = callback.monitor
        meter.wrap_hooks(callback, tuple(name for name in hooks if name in vars(type(callback))))
        meter.wrap_hooks(callback._clipping, ("_keep",))
        callbacks.append(callback)
    trainer = lightning.Trainer(
        max_steps=size["steps"], accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0, callbacks=callbacks, default_root_dir=tempfile.mkdtemp(),
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(Tokens(size, size["steps"] * size["batch"]), batch_size=size["batch"])
    trainer.fit(Module(), loader)
    return clock.medians()


def train_loop(size: dict[str, Any], run_dir: Path | None, seen: int = SEEN) -> Measured:
    from pretrain_monitor.callbacks.loop import LoopMonitor

    clock = Clock(seen)
    meter = clock.meter
    model = GPT(**size["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    monitor = LoopMonitor(run_dir, QUIET) if run_dir is not None else None
    report = meter.wrap(monitor.step) if monitor is not None else None
    should_skip = meter.wrap(monitor.should_skip) if monitor is not None else lambda norm: False
    if monitor is not None:
        clock.monitor = monitor.monitor
        # It also listens to optimizer.step().
        rates = monitor._used_rates
        rates.close()
        rates._hook = register_optimizer_step_pre_hook(meter.wrap(rates._remember))
    for batch in torch.utils.data.DataLoader(Tokens(size, size["steps"] * size["batch"]), batch_size=size["batch"]):
        clock.tick()
        loss = model(**batch)["loss"]
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not should_skip(norm):
            optimizer.step()
        if report is not None:
            report(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=batch["input_ids"].numel())
        optimizer.zero_grad()
    if monitor is not None:
        monitor.close()
    return clock.medians()


TRAININGS = {"hf": train_hf, "lightning": train_lightning, "loop": train_loop}


def measure(framework: str, size_name: str, pairs: int) -> str:
    train, size = TRAININGS[framework], SIZES[size_name]
    ratios, bare, hooks = [], [], []
    for pair in range(pairs):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            # Every other pair the other way round: what comes second must not always be the monitored one.
            order = (None, Path(folder)) if pair % 2 == 0 else (Path(folder), None)
            results = {run_dir is not None: train(size, run_dir) for run_dir in order}
        ratios.append(results[True].step / results[False].step)
        bare.append(results[False].step)
        hooks.append(results[True].hooks)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        early = train({**size, "steps": EARLY_STEPS}, Path(folder), seen=0).hooks
    low, middle, high = statistics.quantiles(ratios, n=4) if pairs > 1 else [ratios[0]] * 3
    step, late = statistics.median(bare), statistics.median(hooks)
    return (
        f"{framework:10s} {size_name:6s} {step * 1e3:8.1f} ms   {100 * (middle - 1):+6.2f} % "
        f"[{100 * (low - 1):+.2f}, {100 * (high - 1):+.2f}]   "
        f"{early * 1e6:8.0f} us   {late * 1e6:6.0f} us   {100 * late / step:6.3f} %"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=list(TRAININGS), help="one of them; all by default")
    parser.add_argument("--size", choices=list(SIZES), help="one of them; both by default")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--all", action="store_true", help="with messages and actions on")
    arguments = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    if arguments.all:
        QUIET.update(ALL)
    parameters = {name: sum(p.numel() for p in GPT(**size["model"]).parameters()) for name, size in SIZES.items()}
    print("parameters:", ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in parameters.items()))
    print("framework  model   bare step   paired difference [quartiles]   hooks at first   in the long run, of a step")
    for size in [arguments.size] if arguments.size else SIZES:
        for framework in [arguments.framework] if arguments.framework else TRAININGS:
            print(measure(framework, size, arguments.pairs), flush=True)
    print("limits: 0.5 % of a step (large, hf and lightning), 1 % (small), 300 us in the hooks")


if __name__ == "__main__":
    main()
