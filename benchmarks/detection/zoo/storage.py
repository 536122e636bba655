"""How the telemetry of a run is stored: text of five significant digits, compressed."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..curves import Floats

STORED = Path(__file__).parent / "telemetry"


def path_of(name: str, folder: Path = STORED) -> Path:
    return folder / f"{name}.csv.xz"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One run, a row per step.

    Args:
        columns: signals by name, each of shape (rows,); ``loss`` in nats among them.
    """

    steps: NDArray[np.int64]
    columns: dict[str, Floats]


def write_telemetry(path: Path, telemetry: Telemetry) -> None:
    """The same telemetry gives the same file, byte for byte."""
    lines = [",".join(("step", *telemetry.columns))]
    for step, values in zip(telemetry.steps, zip(*telemetry.columns.values(), strict=True), strict=True):
        lines.append(f"{step}," + ",".join(f"{value:.5g}" for value in values))
    content = lzma.compress(("\n".join(lines) + "\n").encode(), preset=9)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def read_telemetry(path: Path) -> Telemetry:
    """Raises FileNotFoundError where the run is not stored."""
    header, *lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    table = np.array([line.split(",") for line in lines], dtype=float)
    names = header.split(",")
    return Telemetry(table[:, 0].astype(np.int64), {name: table[:, k] for k, name in enumerate(names) if k})
