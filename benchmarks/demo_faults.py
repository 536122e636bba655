"""How soon and how exactly the monitor reports the faults of the demo, over several seeds.

    python benchmarks/demo_faults.py [--framework torch] [--seeds 0 1 2] [--jobs 2] [--out runs/demo-faults]

Trains ``pretrain-monitor demo`` once per fault and seed, one thread each, a few minutes a run; a run that is finished
in the output directory is not trained again. Prints one table:

- visible: first step from the fault on at which the loss is more than 3 sd above that of the healthy run with the same
  seed, which trains on the same batches until then. The sd is that of the healthy run's own noise.
- detected, delay: the step at which a human is told, and its distance to visible; negative if told before.
- by loss: the same delay with the learning rate hidden from the monitor.
- onset error: where the monitor places the beginning, minus visible.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pretrain_monitor import Incident, read_run, replay
from pretrain_monitor.demo.plan import FAULTS, plan_run
from pretrain_monitor.records import read_records

_NOISE_STEPS = 200
_VISIBLE_SD = 3.0


@dataclass(frozen=True)
class Run:
    framework: str
    fault: str
    seed: int
    run_dir: Path

    @property
    def log(self) -> Path:
        return self.run_dir / "run.jsonl"

    def is_finished(self) -> bool:
        return self.log.exists() and any(record["type"] == "end" for record in read_records(self.log))

    def train(self) -> None:
        call = f"run_demo({self.framework!r}, {self.fault!r}, None, Path({str(self.run_dir)!r}), {self.seed})"
        program = f"from pathlib import Path; from pretrain_monitor.demo import run_demo; raise SystemExit({call})"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        shutil.rmtree(self.run_dir, ignore_errors=True)  # what a killed benchmark left behind
        self.run_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.run_dir.with_suffix(".out").open("wb") as output:
            subprocess.run([sys.executable, "-c", program], env=environment, stdout=output, stderr=output, check=True)

    def losses(self) -> dict[int, float]:
        return {sample.step: sample.metrics["loss"] for sample in read_run(self.run_dir)}

    def alerts(self) -> list[Incident]:
        """The incidents that were told while training, in their final state."""
        latest: dict[str, Incident] = {}
        for record in read_records(self.log):
            if record["type"] == "event":
                incident = Incident.from_json(record["incident"])
                latest[incident.id] = incident
        return [incident for incident in latest.values() if incident.is_alert]

    def alerts_by_loss(self) -> list[Incident]:
        incidents = replay(self.run_dir, {"ignore_signals": ["learning_rate"]})
        return [incident for incident in incidents if incident.is_alert]


def visible_step(losses: dict[int, float], healthy: dict[int, float], fault_step: int) -> int | None:
    """First step from ``fault_step`` on at which the fault shows in the loss; None if it never does."""
    before = [math.log(healthy[step]) for step in range(fault_step - _NOISE_STEPS, fault_step)]
    changes = [abs(b - a) for a, b in itertools.pairwise(before)]
    noise = 1.4826 * statistics.median(changes) / math.sqrt(2)
    for step in range(fault_step, max(losses) + 1):
        if not math.isfinite(losses[step]) or math.log(losses[step] / healthy[step]) > _VISIBLE_SD * noise:
            return step
    return None


def row(run: Run, healthy: Run) -> dict[str, object]:
    """One line of the table."""
    alerts = run.alerts()
    result: dict[str, object] = {"fault": run.fault, "seed": run.seed, "alerts": len(alerts)}
    fault_step = plan_run(run.fault).fault_step
    if fault_step is None:
        return result
    losses = run.losses()
    visible = visible_step(losses, healthy.losses(), fault_step)
    result |= {"induced": fault_step, "visible": visible}
    if visible is None or not alerts:
        return result
    first, by_loss = alerts[0], run.alerts_by_loss()
    return result | {
        "detected": first.detected_step,
        "delay": first.detected_step - visible,
        "by loss": by_loss[0].detected_step - visible if by_loss else None,
        "onset": first.onset_step,
        "onset error": first.onset_step - visible,
        "kind": first.kind.value,
        "severity": first.severity.value,
        "status": first.status.value,
    }


_COLUMNS = (
    "fault", "seed", "induced", "visible", "detected", "delay", "by loss", "onset", "onset error",
    "alerts", "kind", "severity", "status",
)  # fmt: skip


def table(rows: list[dict[str, object]]) -> str:
    cells = [[str(row.get(name, "")) for name in _COLUMNS] for row in rows]
    widths = [max(len(line[i]) for line in [list(_COLUMNS), *cells]) for i in range(len(_COLUMNS))]
    lines = [list(_COLUMNS), ["-" * width for width in widths], *cells]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--framework", default="torch", choices=("hf", "lightning", "torch"))
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/demo-faults"))
    parser.add_argument("--json", type=Path, help="also write the table here")
    options = parser.parse_args(argv)

    def run_of(fault: str, seed: int) -> Run:
        name = f"{options.framework}-{fault}-{seed}"
        return Run(options.framework, fault, seed, options.out / name)

    # The healthy runs come first: every other one is compared with its own.
    runs = [run_of(fault, seed) for fault in dict.fromkeys(["none", *options.faults]) for seed in options.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(Run.train, [run for run in runs if not run.is_finished()]))
    rows = [row(run_of(fault, seed), run_of("none", seed)) for fault in options.faults for seed in options.seeds]
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
