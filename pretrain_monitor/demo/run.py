"""From the command line to a trained model: what ``pretrain-monitor demo`` does."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from rich.console import Console

from ..printable import shorten, shown_path
from .plan import Plan, PlanError, plan_run
from .text import Domain, TextError, load_text

FRAMEWORKS = ("hf", "lightning", "torch")

# Framework -> its name in prose, the packages it needs, the extra that brings them.
_NEEDS = {
    "hf": ("the Hugging Face Trainer", ("torch", "transformers", "accelerate"), "huggingface"),
    "lightning": ("Lightning", ("torch", "lightning"), "lightning"),
    "torch": ("plain PyTorch", ("torch",), "huggingface"),  # there is no smaller extra that brings torch
}
# More would take days, and the data of a run are laid out before it begins.
MAX_STEPS = 100_000
_SEEDS = 2**32  # what torch and numpy both take
_USAGE = 2
_INTERRUPTED = 130


def run_demo(
    framework: str = "hf", fault: str = "lr", steps: int | None = None, run_dir: Path | None = None, seed: int = 0
) -> int:
    """Train, induce the fault, watch; report in the terminal.

    Args:
        framework: one of ``FRAMEWORKS``.
        fault: one of ``plan.FAULTS``.
        steps: optimizer steps, at most ``MAX_STEPS``; about 1,100 if None.
        run_dir: None takes the first free of ``runs/demo-<framework>-<fault>``, ``...-2``, ``...-3`` and so on.
        seed: of the weights and of the order of the data.

    Returns:
        The exit code: 0 after training, 2 if the demo cannot be run as asked, 130 if it was interrupted.
    """
    screen = Console()
    try:
        _check_numbers(steps, seed)
        plan = plan_run(fault, steps)
        _check(framework)
        text = load_text()
        run_dir = run_dir or _free_directory(f"demo-{framework}-{fault}")
        _make(run_dir)
    except (PlanError, TextError) as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, soft_wrap=True, markup=False)
        return _USAGE
    try:
        _train(screen, framework, plan, text, run_dir, seed)
    except KeyboardInterrupt:
        _say(screen, f"interrupted; what was seen until then is in {run_dir}")
        return _INTERRUPTED
    _say(screen, f"run directory: {run_dir}")
    if plan.fault_step is None:
        # With alerts to show, the monitor's own summary has said what to type next.
        _say(screen, f"next: pretrain-monitor tensorboard {run_dir}")
    return 0


def _check_numbers(steps: int | None, seed: int) -> None:
    # What is too short depends on the fault: the plan knows.
    if steps is not None and steps > MAX_STEPS:
        raise PlanError(f"--steps {shorten(steps)} is too long for a demo; give at most {MAX_STEPS:,}")
    if not 0 <= seed < _SEEDS:
        raise PlanError(f"--seed {shorten(seed)} cannot be used; give one from 0 to {_SEEDS - 1:,}")


def _make(run_dir: Path) -> None:
    """A directory that cannot be used is told before the training and not after it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = "is a file, not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise PlanError(f"--run-dir {shown_path(run_dir)}: {problem}") from None


def _check(framework: str) -> None:
    if framework not in _NEEDS:
        raise PlanError(f'unknown framework "{framework}"; choose one of {", ".join(FRAMEWORKS)}')
    _, packages, extra = _NEEDS[framework]
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise PlanError(
            f"--framework {framework} needs {' and '.join(missing)}: pip install 'pretrain-monitor[{extra}]'"
        )


def _train(screen: Console, framework: str, plan: Plan, text: dict[str, Domain], run_dir: Path, seed: int) -> None:
    # Read when torch is loaded. Threads that wait by spinning make a step of this size twenty times slower as soon as
    # another program wants one of the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from .batches import PlannedRows
    from .model import GPT
    from .recipe import BATCH_SIZE, CONTEXT

    torch.manual_seed(seed)
    model = GPT(context=CONTEXT)
    rows = PlannedRows(text, plan, batch_size=BATCH_SIZE, context=CONTEXT, seed=seed)
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    megabytes = sum(map(len, text["code"].train.values())) / 1e6
    _say(
        screen,
        f"training a GPT of {size:.1f} M parameters on {megabytes:.1f} MB of Python's own library sources, "
        f"{plan.steps:,} steps with {_NEEDS[framework][0]}",
        f"the fault: {plan.describe()}; the monitor is not told" if plan.fault_step else "no fault: expect no alert",
    )
    # Imported here: each of them loads its framework.
    import_module(f".train_{framework}", __package__).train(model, rows, plan, text, run_dir)


def _free_directory(name: str) -> Path:
    numbered = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(path for path in numbered if not path.exists())


def _say(screen: Console, *lines: str) -> None:
    for line in lines:
        # Paths and commands must stay whole when they are copied from a narrow terminal.
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
