"""The command line as a real process, shared by the tests."""

from __future__ import annotations

import subprocess
import sys

from forked import forker

# What takes longest to import, of all commands.
MODULES = (
    "pretrain_monitor.cli", "pretrain_monitor.replaying", "pretrain_monitor.incident_table",
    "pretrain_monitor.explain.command", "pretrain_monitor.explain.png", "pretrain_monitor.explain.html",
)  # fmt: skip
COMMAND = [sys.executable, "-c", "from pretrain_monitor.cli import main; main()"]


def cli(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return forker(*MODULES).run("pretrain_monitor.cli:main", arguments, timeout=timeout)


def is_one_line(done: subprocess.CompletedProcess[str], *said: str) -> bool:
    """Whether a command was refused with exit code 2 and nothing but one printable line that says all of ``said``."""
    assert (done.returncode, done.stdout) == (2, ""), (done.stdout, done.stderr)
    line = done.stderr.removesuffix("\n")
    assert line.isprintable(), done.stderr
    assert all(words in line for words in said), (said, line)
    return True
