"""python -m benchmarks.planted: plant known defects into runs, audit them, and say which were found."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.detection.errors import OneLineParser, UsageError

from .cases import Case
from .defects import PLANTED
from .healthy import HEALTHY
from .table import Outcome, healthy_table, planted_table

_SEED = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for something that cannot be used, told in one line."""
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
    try:
        asked = _parser().parse_args(argv)
        planted, healthy = (_named(cases, asked.only) for cases in (PLANTED, HEALTHY))
        if not planted and not healthy:
            every = ", ".join(case.name for case in (*PLANTED, *HEALTHY))
            raise UsageError(f"--only {' '.join(asked.only)}: no run has that in its name; there are {every}")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Runs that are resumed after steps were lost are told so; here it is planned.
    logging.getLogger("pretrain_monitor").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if asked.keep is None else asked.keep
        defective = [_outcome(case, folder, asked.seed) for case in planted]
        if defective:
            console.print(planted_table(defective))
        sound = [_outcome(case, folder, asked.seed) for case in healthy]
        if sound:
            console.print(healthy_table(sound))
    writing, auditing = (sum(outcome.seconds[part] for outcome in (*defective, *sound)) for part in (0, 1))
    console.print(f"{writing:.0f} s to write the runs, {auditing:.0f} s to audit them")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.planted", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="runs with this in their name")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the run directories here; those there are used")
    parser.add_argument("--seed", type=int, default=_SEED, metavar="N", help="of noise, documents and weights")
    return parser


def _named(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    return [case for case in cases if not only or any(part in case.name for part in only)]


def _outcome(case: Case, folder: Path, seed: int) -> Outcome:
    # Here, so that runs can be written without an audit.
    from pretrain_monitor.audit.run import audit_run

    started = time.monotonic()
    run = _written(case, folder, seed, "")
    other = None if case.against is None else _written(case, folder, seed, "-other")
    written = time.monotonic()
    audit = audit_run(run, against=other, criteria=case.criteria)
    return Outcome(case, audit, (written - started, time.monotonic() - written))


def _written(case: Case, folder: Path, seed: int, suffix: str) -> Path:
    run = folder / f"{case.name}-{seed}{suffix}"
    if not run.is_dir():
        make = case.against if suffix and case.against is not None else case.make
        # Under another name first: one that was interrupted must not be taken for a whole one later.
        unfinished = folder / f"{run.name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        make(seed).write(unfinished)
        unfinished.rename(run)
    return run


if __name__ == "__main__":
    sys.exit(main())
