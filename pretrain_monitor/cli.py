"""The command line: parse, call the library, print, return an exit code (0 done, 2 usage or unreadable input)."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__
from .config import ConfigError, load_config
from .readers.generic import LogError
from .rundir import RunDirectoryError

if TYPE_CHECKING:
    from .telemetry import Incident

app = typer.Typer(
    name="pretrain-monitor",
    help="Watch a language-model pre-training run: one alert per instability, at a false-alarm rate you choose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Format(StrEnum):
    TABLE = "table"
    JSONL = "jsonl"


class Framework(StrEnum):
    HF = "hf"
    LIGHTNING = "lightning"
    TORCH = "torch"


class Fault(StrEnum):
    LR = "lr"
    BATCH = "batch"
    NAN = "nan"
    DOMAIN = "domain"
    NONE = "none"


ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file with monitor settings.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    pass


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(help="Run directory, run.jsonl, or a CSV or JSONL log with step and loss.")],
    format: Annotated[
        Format, typer.Option("--format", help="A table, or one incident per line as JSON.")
    ] = Format.TABLE,
    config: ConfigOption = None,
    false_alarms_per_10k: Annotated[
        float | None,
        typer.Option("--false-alarms-per-10k", help="Alerts a healthy run may raise per 10,000 steps [default: 1]."),
    ] = None,
) -> None:
    """Run the detector over a log: what the monitor would have told during the run."""
    from .monitor import replay as replay_log

    settings = load_config(config)
    if false_alarms_per_10k is not None:
        settings = load_config({**settings.model_dump(), "false_alarms_per_10k_steps": false_alarms_per_10k})
    incidents = replay_log(path, settings)
    if format is Format.JSONL:
        for incident in incidents:
            print(json.dumps(incident.to_json(), allow_nan=False))
    else:
        _print_table(path, incidents)


@app.command()
def watch(
    path: Annotated[Path, typer.Argument(help="Run directory, or its run.jsonl.")],
    once: Annotated[bool, typer.Option("--once", help="Print what is there and return; do not wait for more.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Follow a run from outside the job, until it ends: every alert as it is written."""
    from .config import ConsoleConfig
    from .runlog import FILE_NAME, RunLogTail
    from .sinks.console import ConsoleSink
    from .telemetry import Event

    log = path / FILE_NAME if path.is_dir() else path
    if not log.is_file():
        raise LogError(f"{log}: no run log there (yet)")
    tail = RunLogTail(log)
    sink = ConsoleSink(ConsoleConfig(summary=False), None)
    step = 0
    while True:
        records = tail.poll()
        for record in records:
            step = record.get("step", step)
            if record["type"] == "event":
                sink.on_event(Event.from_json(record))
        # A run that ended and was resumed in the same batch of records is not over.
        ended = next((r for r in reversed(records) if r["type"] in ("end", "run")), None)
        if once or (ended is not None and ended["type"] == "end"):
            reason = ended["reason"] if ended is not None and ended["type"] == "end" else "still open"
            print(f"step {step:,}: {reason}")
            return
        time.sleep(every_s)


@app.command()
def tensorboard(
    run_dir: Annotated[Path, typer.Argument(help="Run directory, or a directory of run directories.")] = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 6006,
) -> None:
    """Start TensorBoard on a run with the flags that keep every spike visible."""
    from .tensorboard.launch import run_tensorboard

    raise typer.Exit(run_tensorboard(run_dir, port=port))


@app.command()
def demo(
    framework: Annotated[Framework, typer.Option("--framework", help="Which adapter to show.")] = Framework.HF,
    fault: Annotated[Fault, typer.Option("--fault", help="What goes wrong on the way.")] = Fault.LR,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Optimizer steps [default: some minutes' worth].")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="Where the run log goes [default: runs/demo-...].")
    ] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Train a small model on real text with an induced instability, and watch it."""
    from .demo import run_demo

    raise typer.Exit(run_demo(framework.value, fault.value, steps, run_dir, seed))


def _print_table(path: Path, incidents: list[Incident]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not incidents:
        console.print(f"{path}: no incidents", markup=False, highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("onset", "kind", "severity", "status"):
        table.add_column(column, no_wrap=True)
    table.add_column("what happened", ratio=1)
    colours = {"info": "dim", "warning": "yellow", "critical": "red"}
    for incident in incidents:
        cells: list[Any] = [
            f"{incident.onset_step:,}",
            incident.kind.value,
            incident.severity.value,
            incident.status.value,
        ]
        table.add_row(*cells, Text(incident.message), style=colours[incident.severity.value])
    console.print(table)
    alerts = sum(incident.is_alert for incident in incidents)
    console.print(f"{alerts} alert{'' if alerts == 1 else 's'}, {len(incidents) - alerts} for information")


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2, never a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except (ConfigError, LogError, RunDirectoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
