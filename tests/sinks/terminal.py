"""A terminal to run programs in, and what a person sees on it at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[^\[]|(.)", re.DOTALL)


def run_in_terminal(command: Sequence[str], *, width: int = 100, height: int = 60, timeout_s: float = 60.0) -> str:
    """Everything a program wrote to its terminal, control sequences included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:
            pass  # Linux says so when the other end has closed
        finally:
            os.close(ours)
        assert process.wait(timeout_s) == 0, written.decode()
    return written.decode()


def screen(written: str, width: int = 100) -> list[str]:
    """The lines a person sees: carriage returns, wrapping, erasing and moving up are carried out, colours dropped."""
    lines: list[list[str]] = [[]]
    row = column = 0
    for match in _TOKEN.finditer(written):
        argument, command, character = match.groups()
        if command == "A":
            row = max(row - int(argument or 1), 0)
        elif command == "K":
            lines[row][:] = [] if argument == "2" else lines[row][:column]
        elif character == "\r":
            column = 0
        elif character == "\n":
            row += 1
        elif character is not None and character.isprintable():
            if column == width:
                row, column = row + 1, 0
            while len(lines) <= row:
                lines.append([])
            lines[row].extend(" " * (column + 1 - len(lines[row])))
            lines[row][column] = character
            column += 1
        while len(lines) <= row:
            lines.append([])
    return ["".join(line).rstrip() for line in lines]
