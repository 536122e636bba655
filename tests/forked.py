"""Programs in processes of their own that need not import anew what takes longest: forked from one that has.

``python forked.py MODULE ...`` imports modules, then reads requests from its standard input, a JSON object a line, and
answers with the process id of each, and with how it ended.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FRAMEWORKS = ("torch", "transformers", "lightning")


class Forker:
    """Args:
    modules: imported once, before anything is run.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, __file__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self._parent.kill)
        self._read = b""
        self.ended: dict[int, int] = {}
        assert self._ask_for_line(180) == "ready"

    def start(
        self, program: str | Path, arguments: Sequence[object] = (), *, said: tuple[Path, Path],
        env: Mapping[str, str] | None = None, cwd: Path | None = None,
    ) -> Forked:  # fmt: skip
        """Run a Python file, or ``package.module:function``.

        Args:
            said: files for its standard output and error; they may be the same.
            env: beyond the environment of this process.
        """
        request = {
            "argv": [str(program), *map(str, arguments)],
            "cwd": str(cwd or Path.cwd()),
            "env": {**os.environ, **(env or {})},
            "said": [*map(str, said)],
        }
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(request) + "\n")
        self._parent.stdin.flush()
        while True:
            number, _, status = self._ask_for_line(60).partition(" ")
            if not status:
                return Forked(self, int(number))
            self.ended[int(number)] = int(status)

    def run(
        self, program: str | Path, arguments: Sequence[object] = (), *, timeout: float,
        env: Mapping[str, str] | None = None, cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run it to its end.

        Raises:
            subprocess.TimeoutExpired: it has been ended after ``timeout`` seconds.
        """
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder, "stdout"), Path(folder, "stderr")
            process = self.start(program, arguments, said=said, env=env, cwd=cwd)
            try:
                status = process.wait(timeout)
            finally:
                process.kill()
            out, errors = (path.read_text() for path in said)
            return subprocess.CompletedProcess([str(program), *map(str, arguments)], status, out, errors)

    def look(self, timeout: float) -> None:
        """Take in how a process has ended, if one has."""
        line = self._ask_for_line(timeout)
        if line:
            number, _, status = line.partition(" ")
            self.ended[int(number)] = int(status)

    def _ask_for_line(self, timeout: float) -> str:
        assert self._parent.stdout is not None
        while b"\n" not in self._read:
            is_there, _, _ = select.select([self._parent.stdout], [], [], timeout)
            if not is_there:
                return ""
            more = os.read(self._parent.stdout.fileno(), 4096)
            assert more, "it has ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()


class Forked:
    """A process, as ``subprocess.Popen`` has them."""

    def __init__(self, forker: Forker, pid: int) -> None:
        self._forker = forker
        self.pid = pid

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self.pid not in self._forker.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self._forker.look(left)
        return self._forker.ended[self.pid]

    def kill(self) -> None:
        """End it, unless it has ended."""
        if self.pid not in self._forker.ended:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(30)


@functools.cache
def forker(*modules: str) -> Forker:
    return Forker(modules)


def start_ranks(program: str | Path, arguments: Sequence[object], folder: Path, *, ranks: int = 2) -> list[Forked]:
    """The ranks of one job, started by hand with what a launcher says; what each says goes to ``folder/output{rank}``.

    Nobody ends the others when one fails, as torchrun would.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    said = [folder / f"output{rank}" for rank in range(ranks)]
    return [
        forker(*FRAMEWORKS).start(
            program, arguments, said=(path, path), env={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank, path in enumerate(said)
    ]


def run_ranks(program: str | Path, arguments: Sequence[object], folder: Path, *, ranks: int = 2, limit_s: float) -> str:
    """A job of which every rank ends well; what they said."""
    processes = start_ranks(program, arguments, folder, ranks=ranks)
    deadline = time.monotonic() + limit_s
    try:
        statuses = [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = "".join((folder / f"output{rank}").read_text() for rank in range(ranks))
    assert statuses == [0] * ranks, said[-5000:]
    return said


def serve() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print("ready", flush=True)
    running: set[int] = set()
    unread = b""
    while True:
        is_there, _, _ = select.select([0], [], [], 0.02 if running else None)
        if is_there:
            more = os.read(0, 1 << 16)
            if not more:
                return
            *lines, unread = (unread + more).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    os._exit(_run(json.loads(line)))
                running.add(pid)
                print(pid, flush=True)
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.remove(pid)
                print(pid, os.waitstatus_to_exitcode(status), flush=True)


def _run(request: dict[str, Any]) -> int:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(request["said"], 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if "torch" in sys.modules and "OMP_NUM_THREADS" in os.environ:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.argv = request["argv"]
    program = sys.argv[0]
    status = 0
    try:
        if ":" in program:
            module, _, function = program.partition(":")
            getattr(importlib.import_module(module), function)()
        else:
            sys.path.insert(0, str(Path(program).absolute().parent))
            runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException as error:
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve()
