"""Starts TensorBoard on a run directory so that every spike and every alert is visible."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..rundir import FILE_NAME

HOST = "127.0.0.1"  # TensorBoard has no authentication
DEFAULT_PORT = 6006

# TensorBoard keeps 1,000 points of a curve and ten to a hundred cards by default: of 34 spikes in 20,000 steps it would
# show two. A number and not 0, which stands for "all" but leaves the tabs empty.
_SAMPLES = "scalars=500000,text=1000"
# Seconds; anything below 1 becomes 0 and keeps a core busy.
_RELOAD_INTERVAL = "1"
# Smoothing is on by default and flattens what one looks for, in the other tabs.
_PAGE = "/?smoothing=0#pretrain_monitor"
_CHARTS = "/?smoothing=0#custom_scalars&_smoothingWeight=0"


class LaunchError(RuntimeError):
    """TensorBoard cannot be started; the message is one line for the user."""


def tensorboard_url(port: int) -> str:
    """The page to open: the tab that reads the run log itself."""
    return f"http://{HOST}:{port}{_PAGE}"


def charts_url(port: int) -> str:
    """The Custom Scalars tab, nothing smoothed away: what TensorBoard by itself can show of a run."""
    return f"http://{HOST}:{port}{_CHARTS}"


def tensorboard_command(run_dir: str | Path, port: int = DEFAULT_PORT, extra: Sequence[str] = ()) -> list[str]:
    """The command line that serves ``run_dir``.

    >>> tensorboard_command("runs/x", 6007)[3:]     # doctest: +NORMALIZE_WHITESPACE
    ['--logdir', 'runs/x', '--host', '127.0.0.1', '--port', '6007',
     '--reload_interval', '1', '--samples_per_plugin', 'scalars=500000,text=1000']

    Args:
        run_dir: a run directory, or a directory of run directories.
        extra: further flags of TensorBoard; they win over the ones set here.
    """
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run_dir), "--host", HOST, "--port", str(port)]
    return [*command, "--reload_interval", _RELOAD_INTERVAL, "--samples_per_plugin", _SAMPLES, *extra]


def start_tensorboard(
    run_dir: str | Path, port: int = DEFAULT_PORT, extra: Sequence[str] = (), *, timeout_s: float = 60.0
) -> subprocess.Popen[bytes]:
    """Start TensorBoard on ``run_dir`` and return once it answers; end it with ``terminate()``.

    Raises:
        LaunchError: TensorBoard is not installed, there is nothing to show, the port is taken, or it does not come up.
    """
    _check(Path(run_dir))
    if _answers(port):
        raise LaunchError(f"port {port} is in use: choose another one, as in --port {port + 1}")
    process = subprocess.Popen(tensorboard_command(run_dir, port, extra))
    try:
        _wait_for_answer(process, port, timeout_s)
    except BaseException:
        end(process)
        raise
    return process


def run_tensorboard(run_dir: str | Path, port: int = DEFAULT_PORT, extra: Sequence[str] = ()) -> int:
    """Serve ``run_dir`` until interrupted, telling on the terminal where to look; for the main thread only.

    Returns:
        The exit code: 0 when interrupted, 2 with one line on stderr if TensorBoard cannot be started.
    """
    # As with Ctrl-C: without it the server would outlive a terminated parent.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    process = None
    try:
        process = start_tensorboard(run_dir, port, extra)
        print(f"Open {tensorboard_url(port)}", flush=True)
        return process.wait()
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        if process is not None:
            end(process)
        signal.signal(signal.SIGTERM, before)


def end(process: subprocess.Popen[bytes], timeout_s: float = 10.0) -> None:
    """Stop a server and wait until it is gone."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _check(run_dir: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise LaunchError("TensorBoard is not installed: pip install 'pretrain-monitor[tensorboard]'")
    if not run_dir.is_dir():
        raise LaunchError(f"{run_dir}: no such directory")
    if not _holds(run_dir, "tfevents") and not _holds(run_dir, FILE_NAME):
        raise LaunchError(f"{run_dir}: no run log and no TensorBoard event files there")


def _holds(directory: Path, part: str) -> bool:
    return any(part in name for _, _, names in os.walk(directory) for name in names)


def _wait_for_answer(process: subprocess.Popen[bytes], port: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not _answers(port):
        if process.poll() is not None:
            raise LaunchError(f"TensorBoard ended with exit code {process.returncode}; the lines above say why")
        if time.monotonic() > deadline:
            raise LaunchError(f"TensorBoard did not answer on port {port} within {timeout_s:g} s")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True
