"""An audit of a long run: how long it takes after reading, how large its page is.

python benchmarks/audit_scale.py [--steps 1000000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from pretrain_monitor.audit.criteria import load_criteria
from pretrain_monitor.audit.gathering import gather
from pretrain_monitor.audit.run import audit_of
from pretrain_monitor.lines import line
from pretrain_monitor.report.html import html_of
from pretrain_monitor.report.json_file import json_of

LIMIT_S, LIMIT_BYTES = 20.0, 8_000_000
_SIGNALS = ("loss", "grad_norm", "learning_rate", "update_rms", "logit_z", "entropy")


def write_log(path: Path, steps: int) -> None:
    """As a monitored run leaves it, with an incident each fifty thousand steps."""
    rng = np.random.default_rng(0)
    at = np.arange(1, steps + 1)
    loss = (2 + 4 * (at + 20.0) ** -0.35) * np.exp(0.02 * rng.standard_normal(steps))
    columns = [
        loss,
        0.5 * np.exp(0.15 * rng.standard_normal(steps)),
        3e-4 * np.minimum(at / 2000, 1 - at / (1.02 * steps)),
    ]
    columns += [np.exp(0.1 * rng.standard_normal(steps)) for _ in _SIGNALS[3:]]
    loss[25_000::50_000] *= 1.5
    with path.open("wb") as file:
        file.write(line("run", {"version": 1, "resumed_from": None, "time": 1.7e9, "max_grad_norm": 1.0}))
        rows = zip(at.tolist(), *(column.tolist() for column in columns), strict=True)
        for step, *values in rows:
            metrics = ",".join(f'"{name}":{value!r}' for name, value in zip(_SIGNALS, values, strict=True))
            file.write(
                f'{{"type":"sample","step":{step},"metrics":{{{metrics}}},"tokens_seen":{step * 1000},'
                f'"time":{1.7e9 + step}}}\n'.encode()
            )
        file.write(line("end", {"step": steps, "time": 1.7e9 + steps, "reason": "finished"}))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    steps = parser.parse_args(argv).steps
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder) / "run.jsonl", steps)
        began = time.perf_counter()
        material = gather(Path(folder))
        read = time.perf_counter()
        audit = audit_of(material, None, load_criteria())
        measured = time.perf_counter()
        page, record = html_of(audit), json_of(audit)
        done = time.perf_counter()
    print(f"{steps:,} steps x {len(_SIGNALS)} signals: read in {read - began:.1f} s")
    print(f"audited in {measured - read:.1f} s, reported in {done - measured:.1f} s; limit {LIMIT_S:g} s for both")
    print(
        f"page of {len(page.encode()) / 1e6:.2f} MB, limit {LIMIT_BYTES / 1e6:g} MB; JSON of {len(record) / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
