"""Device scalars -> host floats without making the device wait."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Slot(NamedTuple):
    label: Any
    host: Tensor
    done: Any  # torch.cuda.Event, or None on a CPU


class LateReadback:
    """A ring of pinned host buffers: values are copied when the device gets there and read once they have arrived.

    On a CPU there is nothing to wait for and values come back at once. On CUDA they come one or two steps late; the
    host blocks only if the ring is full, that is if the device is ``depth`` steps behind.

    Args:
        depth: rows under way at the same time.
    """

    def __init__(self, depth: int = 8) -> None:
        self._depth = depth
        self._under_way: deque[_Slot] = deque()
        self._free: deque[Tensor] = deque()

    def push(self, label: Any, row: Tensor) -> list[tuple[Any, list[float]]]:
        """Send off a float32 vector; return the (label, values) that have arrived, oldest first."""
        if row.device.type != "cuda":
            return [*self.flush(), (label, row.tolist())]
        arrived = self.drain(wait_for=1 if len(self._under_way) >= self._depth else 0)
        host = self._buffer(row.numel())
        host.copy_(row, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        self._under_way.append(_Slot(label, host, done))
        return arrived

    def drain(self, wait_for: int = 0) -> list[tuple[Any, list[float]]]:
        """What has arrived by now, waiting for the oldest ``wait_for`` rows."""
        arrived = []
        while self._under_way:
            label, host, done = self._under_way[0]
            if not done.query():
                if wait_for <= 0:
                    break
                done.synchronize()
            wait_for -= 1
            self._under_way.popleft()
            arrived.append((label, host.tolist()))
            self._free.append(host)
        return arrived

    def flush(self) -> list[tuple[Any, list[float]]]:
        """Wait for everything: at the end, on an exception, before a checkpoint."""
        return self.drain(wait_for=len(self._under_way))

    def _buffer(self, width: int) -> Tensor:
        while self._free:
            host = self._free.popleft()
            if host.numel() == width:
                return host
        return torch.empty(width, dtype=torch.float32, pin_memory=True)
