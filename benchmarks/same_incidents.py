"""Ten demo runs with faults: incidents as the callback told them, from a replay, from the audit and from event files.

python benchmarks/same_incidents.py [--steps 400] [--keep DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pretrain_monitor import Incident, audit_run, read_run, replay
from pretrain_monitor.demo import run_demo
from pretrain_monitor.records import read_events
from pretrain_monitor.run_settings import load_own_settings
from pretrain_monitor.rundir import FILE_NAME
from pretrain_monitor.telemetry import Kind, in_order

FRAMEWORKS, FAULTS = ("hf", "lightning", "torch"), ("lr", "batch", "nan", "domain")
# What event files do not hold: which documents a domain lost.
_OF_PROBES = (Kind.RETENTION_LOSS, Kind.PROBE_FAILURE)


def told(run_dir: Path) -> list[Incident]:
    """As the callback wrote them, in their last state."""
    newest = {event.incident_id: event.incident for event in read_events(run_dir / FILE_NAME)}
    return in_order(newest.values())


def of_event_files(run_dir: Path) -> list[Incident]:
    return replay(read_run(run_dir / "tensorboard"), load_own_settings(run_dir))


def alike(ours: Sequence[Incident], theirs: Sequence[Incident]) -> bool:
    """The same incidents, with values as float32 keeps them."""
    return [_shape(one) for one in ours if one.kind not in _OF_PROBES] == [_shape(one) for one in theirs]


def _shape(one: Incident) -> tuple[object, ...]:
    peak = None if one.peak is None else f"{one.peak:.4g}"
    return one.kind, one.severity, one.status, one.signals, one.onset_step, one.detected_step, one.end_step, peak


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--keep", type=Path, help="where the runs go, and are taken from if they are there")
    arguments = parser.parse_args(argv)
    runs = [(framework, fault) for fault in FAULTS for framework in FRAMEWORKS][:10]
    print(f"{'run':20} incidents  replay  audit  event files")
    all_same = True
    with tempfile.TemporaryDirectory() as folder:
        for number, (framework, fault) in enumerate(runs):
            run_dir = (arguments.keep or Path(folder)) / f"{framework}-{fault}"
            if not (run_dir / FILE_NAME).exists():
                with contextlib.redirect_stdout(io.StringIO()):
                    run_demo(framework, fault, arguments.steps, run_dir, seed=number)
            live = told(run_dir)
            records = [one.to_json() for one in live]
            same = (
                records == [one.to_json() for one in replay(run_dir)],
                records == audit_run(run_dir).incidents,
                alike(live, of_event_files(run_dir)),
            )
            all_same &= all(same)
            marks = ["same" if one else "OTHER" for one in same]
            print(
                f"{framework + ' ' + fault:20} {len(live):9}  {marks[0]:>6}  {marks[1]:>5}  {marks[2]:>11}", flush=True
            )
    return 0 if all_same else 1


if __name__ == "__main__":
    raise SystemExit(main())
