from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_no_file_there_is_in_the_way_of_a_package():
    # A script finds its neighbours first, and so does whatever it imports: torch looks for a module named cuda.
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import torch, transformers, lightning, pretrain_monitor"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
