"""What the audit finds of known defects, and of healthy runs.

python -m benchmarks.audit [--only WORDS] [--without-training] [--keep DIR]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from pretrain_monitor import Audit, audit_run
from pretrain_monitor.config import load_config  # noqa: F401  # imported now, and not in the time of the first run

from .healthy import healthy
from .planted import Planted, by_formula


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="runs with these words in their name")
    parser.add_argument("--without-training", action="store_true", help="runs by formula only: half a minute")
    parser.add_argument("--keep", type=Path, help="where the runs go, and are taken from if they are there")
    given = parser.parse_args(argv)
    runs = [*by_formula(), *healthy()]
    if not given.without_training:
        from .trained import trained

        runs += trained()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder)
        outcomes = [(run, _audited(run, root)) for run in runs if given.only in run.name]
    defects = [(run, audit) for run, audit in outcomes if run.checks]
    sound = [(run, audit) for run, audit in outcomes if not run.checks]
    found = sum(_print(run, audit) for run, audit in defects)
    print(f"\n{found} of {len(defects)} defects found by the right finding\n")
    false = sum(len(_failing(audit)) for _, audit in sound)
    for run, audit in sound:
        print(f"{run.name:40} {audit.verdict.value:22} {', '.join(sorted(_failing(audit))) or 'nothing fails'}")
    print(f"\n{false} failing findings on {len(sound)} healthy runs; {time.monotonic() - began:.0f} s")
    return 0


def _audited(run: Planted, root: Path) -> Audit:
    path = root / run.name.replace(":", "").replace(" ", "-")
    other = path.with_name(f"{path.name}-other")
    if not path.exists():
        run.write(path)
    return audit_run(path, against=other if other.exists() else None)


def _failing(audit: Audit) -> set[str]:
    return {one.check for one in audit.findings if one.passed is False}


def _print(run: Planted, audit: Audit) -> bool:
    failing = _failing(audit)
    hits = [check for check in run.checks if check in failing]
    shown = audit.finding(hits[0] if hits else run.checks[0])
    value = "no value" if shown.value is None else f"{shown.value:.3g} {shown.unit} ({shown.bound} {shown.limit})"
    others = ", ".join(sorted(failing - set(run.checks))) or "-"
    print(f"{'found ' if hits else 'MISSED'}  {run.name:40} {shown.check:30} {value:45} also: {others}", flush=True)
    return bool(hits)


if __name__ == "__main__":
    raise SystemExit(main())
