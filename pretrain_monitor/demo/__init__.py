"""The demo: a small language model trains on real text, something goes wrong, and the monitor says so.

Everything here is what a user's own project would hold; only the fault is on purpose.
"""

from .run import FRAMEWORKS, run_demo

__all__ = ["FRAMEWORKS", "run_demo"]
