"""The command line: parse, call the library, print, return an exit code (0 done, 2 usage or unreadable input)."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .config import ConfigError, MonitorConfig, NotifyConfig, load_config
from .explain.errors import ExplainError
from .output_files import OutputError
from .printable import clean, shown_path
from .probes.base import ProbeError
from .readers import LogError
from .report.errors import ReportError
from .rundir import RunDirectoryError

# What the options allow, from and to. A test holds them to the settings.
RATES = (1e-6, 1000.0)
LOOKS_S = (0.1, 3600.0)

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


class Dtype(StrEnum):
    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Fault(StrEnum):
    LR = "lr"
    BATCH = "batch"
    NAN = "nan"
    DOMAIN = "domain"
    NONE = "none"


# Whether a path is readable is for its reader to say: typer would say it in four lines.
ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file with monitor settings.", readable=False)]
NotifyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        metavar="ADDRESS",
        help="Where to send messages, as apprise spells it; '${NAME}' stands for an environment variable.",
    ),
]
PatternOption = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="REGEX",
        help="For the lines of a text log, as in 'step (?P<step>[0-9]+) loss (?P<loss>[0-9.]+)'.",
    ),
]
_REPLAYED = "Run directory, run.jsonl, or a log of another program; - reads standard input."


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
    path: Annotated[Path, typer.Argument(help=_REPLAYED, readable=False)],
    format: Annotated[
        Format, typer.Option("--format", help="A table, or one incident per line as JSON.")
    ] = Format.TABLE,
    config: ConfigOption = None,
    false_alarms_per_10k: Annotated[
        float | None,
        typer.Option(
            "--false-alarms-per-10k", help="Alerts a healthy run may raise per 10,000 steps [default: the run's own]."
        ),
    ] = None,
    pattern: PatternOption = None,
) -> None:
    """Run the detector over a log: what the monitor would have told during the run."""
    from .readers import read_run
    from .run_settings import load_own_settings

    settings = load_own_settings(path) if config is None else load_config(config)
    if false_alarms_per_10k is not None:
        settings = _with_rate(settings, false_alarms_per_10k)
    samples = read_run(path, pattern=pattern)
    first = next(samples, None)
    if first is None:
        # The run has only just begun. Any other log without samples is an error.
        print(f"{shown_path(path)}: no samples yet", file=sys.stdout if format is Format.TABLE else sys.stderr)
        return

    # Imported for a log that can be read only: they load rich.
    from .incident_table import print_table
    from .replaying import replay as replay_log

    incidents = replay_log(chain([first], samples), settings)
    if format is Format.JSONL:
        for incident in incidents:
            print(json.dumps(incident.to_json(), allow_nan=False))
    elif incidents:
        print_table(incidents)
    else:
        print(f"{shown_path(path)}: no incidents")


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run directory, run.jsonl, or a log of another program.", readable=False)],
    incident: Annotated[
        str | None, typer.Argument(help="Its id as in the run log, or a step. Without it: which incidents there are.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Also draw it into this file.", readable=False)] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also draw it into this page, to zoom in.", readable=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML file with monitor settings [default: the run's own].", readable=False),
    ] = None,
    false_alarms_per_10k: Annotated[
        float | None,
        typer.Option("--false-alarms-per-10k", help="As for replay [default: the run's own]."),
    ] = None,
) -> None:
    """Show why an incident was told: signal, trend and charts around it, from the log."""
    from .explain.outputs import outputs
    from .explain.runfiles import check_readable_twice
    from .run_settings import load_own_settings

    check_readable_twice(run)
    settings = load_own_settings(run) if config is None else load_config(config)
    if false_alarms_per_10k is not None:
        settings = _with_rate(settings, false_alarms_per_10k)
    files = outputs(png, html, run)
    from .explain.command import explain_run

    explain_run(run, incident, settings, files)


@app.command()
def convert(
    path: Annotated[Path, typer.Argument(help="Any log that replay reads.", readable=False)],
    run_dir: Annotated[Path, typer.Argument(help="Where it goes, as a run directory of ours.", readable=False)],
    pattern: PatternOption = None,
) -> None:
    """Write the log of another program as a run directory: for the tab, explain, audit and everything else."""
    from .converting import convert_log

    steps = convert_log(path, run_dir, pattern=pattern)
    print(f"{steps:,} samples written: {shown_path(run_dir)}")


@app.command()
def audit(
    path: Annotated[
        Path,
        typer.Argument(
            help="Run directory, any log that replay reads, or a file that probe --json wrote.", readable=False
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The model at hand: measured, or results of probe --json.", readable=False),
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another run, log or file of results.", readable=False)
    ] = None,
    criteria: Annotated[
        str | None,
        typer.Option(
            "--criteria",
            metavar="FILE",
            help="YAML file, or one of research, production, continue-pretraining, checkpoint [default: research].",
        ),
    ] = None,
    probes: Annotated[
        str | None, typer.Option("--probes", metavar="FILE", help="What to measure of --model [default: quick].")
    ] = None,
    pattern: PatternOption = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with charts.", readable=False)] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Also write it as text.", readable=False)] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Also write it for programs.", readable=False)] = None,
) -> None:
    """Is the model of a run ready, and on what evidence? Exit code 0 if it is, 1 if it is not or nobody can tell."""
    from .audit.command import AuditWish, audit_and_report

    wish = AuditWish(path, model, against, criteria, probes, pattern, html, markdown, json)
    raise typer.Exit(audit_and_report(wish))


@app.command()
def probe(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL",
            help="Directory of a Hugging Face model, a .gguf file, or a directory of checkpoint-*.",
            readable=False,
        ),
    ],
    probes: Annotated[
        str,
        typer.Option("--probes", metavar="FILE", help="YAML file, or one of quick, domains, tasks, tokenization."),
    ],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            "--tokenizer", help="Path of a tokenizer for all models [default: each model's own].", readable=False
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1 [default: cuda if there is one].")
    ] = None,
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Of the weights; auto: as they were saved.")] = Dtype.AUTO,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Documents of each domain and questions of each task, at most.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Also write all results here.", readable=False)] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also draw them into this page.", readable=False)] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="File that --json wrote of another model.", readable=False)
    ] = None,
) -> None:
    """Measure models on disk: held-out texts, tasks, tokenizer. Several in a row give learning curves."""
    from .probes.command import Wish, probe_models

    wish = Wish(models, probes, tokenizer, device, dtype.value, limit, json, html, reference)
    raise typer.Exit(probe_models(wish))


@app.command()
def watch(
    path: Annotated[Path, typer.Argument(help="Run directory, or its run.jsonl.", readable=False)],
    once: Annotated[bool, typer.Option("--once", help="Print what is there and return; do not wait for more.")] = False,
    every_s: Annotated[float, typer.Option("--every", help="Seconds between two looks.")] = 1.0,
    notify: NotifyOption = None,
    stalled_minutes: Annotated[
        float | None,
        typer.Option("--stalled-minutes", help="Tell when no step was completed for so long [default: 30]."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Follow a run from outside the job, until it ends: every alert as it is written.

    With --notify also by message, and what a dead or hanging job cannot tell itself."""
    from .following import follow

    low, high = LOOKS_S
    if not low <= every_s <= high:
        raise ConfigError(f"--every {every_s:g}: give the seconds between two looks, from {low:g} to {high:,g}")
    messages = _messages(notify, config, stalled_minutes)
    if once and messages.urls:
        raise ConfigError("--once only prints what is there: messages take a watch that goes on")
    follow(path, once=once, every_s=every_s, messages=messages)


@app.command("notify-test")
def notify_test(notify: NotifyOption = None, config: ConfigOption = None) -> None:
    """Send one message of each kind to every service, to see that they arrive."""
    from .sinks.trial import send_trial

    messages = _messages(notify, config, None)
    if not messages.urls:
        raise ConfigError("notify-test: give --notify ADDRESS, or --config FILE with notify: urls: in it")
    has_failed = False
    for service, what, has_arrived in send_trial(messages):
        has_failed |= not has_arrived
        print(f"{service}: {what}: {'sent' if has_arrived else 'NOT SENT'}", flush=True)
    if has_failed:
        print("not everything arrived: check address, secret and network", file=sys.stderr)
        raise typer.Exit(1)


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_job(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="The job, as in: -- torchrun train.py")],
    plan: Annotated[
        Path, typer.Option("--plan", help="Where the job leaves word how to go on; all its ranks must see it.")
    ] = Path("pretrain_monitor_plan.json"),
    restarts: Annotated[int, typer.Option("--restarts", min=0, help="Times it is started anew, at most.")] = 10,
) -> None:
    """Start a job, and start it anew when it wants to go back to a checkpoint and cannot while it runs."""
    from .supervise import supervise

    raise typer.Exit(supervise(command, plan, at_most=restarts))


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


def _messages(addresses: list[str] | None, config: Path | None, stalled_minutes: float | None) -> NotifyConfig:
    """What is sent where: the file's own settings, and what the command line says instead."""
    settings = load_config(config).notify.model_dump()
    if addresses:
        settings["urls"] = addresses
    if stalled_minutes is not None:
        settings["stalled_minutes"] = stalled_minutes
    return load_config({"notify": settings}).notify


def _with_rate(settings: MonitorConfig, rate: float) -> MonitorConfig:
    try:
        return load_config({**settings.model_dump(), "false_alarms_per_10k_steps": rate})
    except ConfigError:
        low, high = RATES
        raise ConfigError(f"--false-alarms-per-10k {rate:g}: give a number from {low:g} to {high:,g}") from None


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2, never a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A path or a signal's name may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            print(end="", flush=True)
    except (ConfigError, ExplainError, LogError, OutputError, ProbeError, ReportError, RunDirectoryError) as error:
        print(f"error: {clean(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong, and nothing more can be said.
        _drop_output()
        raise SystemExit(0) from None
    except OSError as error:
        # A full disk under `> file`, a disk that gives up.
        what = "the output cannot be written" if error.filename is None else shown_path(error.filename)
        print(f"error: {what}: {error.strerror or error}", file=sys.stderr)
        _drop_output()
        raise SystemExit(2) from None


def _drop_output() -> None:
    """What is still buffered would be tried once more at exit, and fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
