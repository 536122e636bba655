"""Device scalars -> host floats without making the device wait."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

_BUFFER_WIDTH = 16  # a buffer fits any row up to a multiple of this


class Arrival(Protocol):
    """When a copy is there; a CUDA event is one."""

    def query(self) -> bool: ...

    def synchronize(self) -> None: ...


class Copies(Protocol):
    """How rows get from a device to the host."""

    def is_late(self, row: Tensor) -> bool:
        """Whether reading the row now would make the host wait."""
        ...

    def buffer(self, width: int) -> Tensor:
        """Host memory for ``width`` float64 values that ``send`` can write to."""
        ...

    def send(self, row: Tensor, host: Tensor) -> Arrival:
        """Start copying; returns at once."""
        ...


class CudaCopies:
    """Copies into pinned memory, in the stream that computed the row."""

    def is_late(self, row: Tensor) -> bool:
        return row.device.type == "cuda"

    def buffer(self, width: int) -> Tensor:
        return torch.empty(width, dtype=torch.float64, pin_memory=True)

    def send(self, row: Tensor, host: Tensor) -> Arrival:
        host.copy_(row, non_blocking=True)
        # The stream of the row's device: the current device of the process may be another one.
        arrival: Arrival = torch.cuda.current_stream(row.device).record_event()
        return arrival


class _Slot(NamedTuple):
    label: Any
    host: Tensor | None  # None: a label without values
    width: int
    arrival: Arrival | None  # None: could be read at once


class LateReadback:
    """A ring of pinned host buffers: values are copied when the device gets there and read once they have arrived.

    Rows come out in the order in which they went in. On CUDA they come one or two steps late; the host blocks only if
    the ring is full, that is if the device is ``depth`` steps behind. From any other device they come at once.

    Args:
        depth: rows under way at the same time.
        copies: how rows get to the host.
    """

    def __init__(self, depth: int = 8, copies: Copies | None = None) -> None:
        self._depth = depth
        self._copies: Copies = CudaCopies() if copies is None else copies
        self._under_way: deque[_Slot] = deque()
        self._free: deque[Tensor] = deque()

    def push(self, label: Any, row: Tensor | None) -> list[tuple[Any, list[float]]]:
        """Send off a vector, or a label alone; return the (label, values) that have arrived, oldest first."""
        if not self._under_way and (row is None or not self._copies.is_late(row)):
            return [(label, [] if row is None else row.tolist())]
        arrived = self.drain(wait_for=1 if len(self._under_way) >= self._depth else 0)
        if row is None:
            slot = _Slot(label, None, 0, None)
        elif not self._copies.is_late(row):
            slot = _Slot(label, row, row.numel(), None)
        else:
            host = self._buffer(row.numel())
            slot = _Slot(label, host, row.numel(), self._copies.send(row, host[: row.numel()]))
        self._under_way.append(slot)
        return arrived + self.drain()

    def drain(self, wait_for: int = 0) -> list[tuple[Any, list[float]]]:
        """What has arrived by now, waiting for the oldest ``wait_for`` rows."""
        arrived = []
        while self._under_way:
            label, host, width, arrival = self._under_way[0]
            if arrival is not None and not arrival.query():
                if wait_for <= 0:
                    break
                arrival.synchronize()
            wait_for -= 1
            self._under_way.popleft()
            arrived.append((label, [] if host is None else host[:width].tolist()))
            if host is not None and arrival is not None:
                self._free.append(host)
        return arrived

    def flush(self) -> list[tuple[Any, list[float]]]:
        """Wait for everything: at the end, on an exception, before a checkpoint."""
        return self.drain(wait_for=len(self._under_way))

    def _buffer(self, width: int) -> Tensor:
        while self._free:
            host = self._free.popleft()
            if host.numel() >= width:
                return host
        # Pinning memory waits for the device, so buffers are made a few times and kept.
        return self._copies.buffer(-(-width // _BUFFER_WIDTH) * _BUFFER_WIDTH)
