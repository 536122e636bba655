"""The most memory that a measurement took."""

from __future__ import annotations

import re
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


class PeakMemory:
    """Begins to count when it is made.

    On an accelerator what torch has handed out; elsewhere all that the program holds, weights and texts included, where
    the system tells.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_reset = False
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            (_PROCESS / "clear_refs").write_text("5")  # Linux: forget the peak so far
            self._is_reset = True
        except OSError:
            pass  # another system, or a sandbox

    def bytes(self) -> int | None:
        """The peak since then; None if nobody knows."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        if not self._is_reset:
            return None
        found = re.search(r"^VmHWM:\s+(\d+) kB", (_PROCESS / "status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
