"""Starts a job, and starts it anew where it has left a plan: what ``pretrain-monitor run`` does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from .actions.plan import VARIABLE, read_plan
from .config import ConfigError
from .printable import shorten

_FORWARDED = (signal.SIGTERM, signal.SIGINT)


def supervise(command: Sequence[str], plan: Path, *, at_most: int) -> int:
    """The exit status of the job that was started last.

    Args:
        command: the job, such as a ``torchrun`` with all that follows it: its own agent starts the ranks.
        plan: file in which the job says how to go on; on a file system that all of its ranks see.
        at_most: times that it is started anew.

    Raises:
        ConfigError: there is no such command, or a plan of an earlier job that nobody has carried out.
    """
    if plan.exists():
        raise ConfigError(f"{plan}: a plan that an earlier job has left; delete it, or name another file with --plan")
    if not plan.absolute().parent.is_dir():
        raise ConfigError(f"{plan}: no such directory: name a file that the job can write, with --plan")
    environment = {**os.environ, VARIABLE: str(plan.absolute())}
    for starts_left in range(at_most, -1, -1):
        status, was_told_to_end = _run(command, environment)
        order = read_plan(plan)
        if status == 0 or order is None or was_told_to_end:
            return status
        if not starts_left:
            _say(f"the job wants to go back to step {order.details['to_step']:,} once more, but has been started anew "
                 f"{at_most} times: left as it is; the plan is in {plan}")  # fmt: skip
            return status
        _say(f"started anew from the checkpoint of step {order.details['to_step']:,}: {shorten(order.reason, 200)}")
    return status


def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, bool]:
    """Its exit status, and whether somebody has told it to end."""
    try:
        job = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise ConfigError(f"{command[0]}: cannot be started: {error.strerror}") from None

    signals: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        job.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        status = job.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status, bool(signals)  # as shells tell a signal


def _say(line: str) -> None:
    print(f"pretrain-monitor: {line}", file=sys.stderr, flush=True)
