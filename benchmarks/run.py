"""All figures, one table each.

python benchmarks/run.py [detector|knob|replay|host|overhead|faults|dashboard ...]
"""

from __future__ import annotations

import sys

import dashboard
import demo_faults
import detector
import host
import knob
import overhead
import replay

FIGURES = {
    "detector": lambda: detector.main([]),
    "knob": lambda: knob.main([]),
    "replay": lambda: replay.main([]),
    "host": lambda: host.main([]),
    "overhead": lambda: overhead.main([]),
    "faults": lambda: demo_faults.main([]),
    "dashboard": lambda: dashboard.main([]),
}


def main() -> int:
    wanted = sys.argv[1:] or list(FIGURES)
    unknown = [name for name in wanted if name not in FIGURES]
    if unknown:
        print(f"unknown figure {unknown[0]!r}; choose from {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    for name in wanted:
        print(f"== {name}", flush=True)
        FIGURES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
