"""python -m benchmarks.detection: every detector on every data set, one table each."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from .bad_batches import SIZES, bad_batches, planted
from .calibration import calibration
from .corpus import DEFAULT_FOLDER, family
from .curves import Baseline, Curve
from .datasets import NAMES, TITLES, DataSets, NotHere, describe
from .errors import OneLineParser, UsageError
from .halves import halves
from .matched import is_adjustable, matched
from .measure import measure
from .ours import OurDetector
from .ours_offline import OfflineDetector
from .provenance import provenance
from .registry import chosen
from .table import Table, bad_batch_table, calibration_table, class_table, score_table

_CALIBRATION, _BAD_BATCHES = "calibration", "bad_batches"
_COLUMNS = (
    "hits and false episodes in the lenient count, strict: alerts on harmless events are false too; "
    "delay, onset error: median / 90th percentile, in rows; us/row: processor time, other work may have slowed it down"
)
_BAD_BATCH_COLUMNS = (
    "told: incidents of kind bad_batch, which are information; elsewhere: at no row with a harmless event; known: "
    "single rows that labels call harmless or that were planted"
)
_NOTICED = "noticed: a finding of any severity in the window; in rows, median / 90th percentile"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for something that cannot be used, told in one line."""
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
    try:
        asked = _parser().parse_args(argv)
        return _run(asked, console)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.detection", description=__doc__)
    every = (*NAMES, _CALIBRATION, _BAD_BATCHES)
    parser.add_argument("--corpus", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="folder of labelled curves")
    parser.add_argument("--data", nargs="+", choices=every, default=every, metavar="SET", help=", ".join(every))
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="detectors with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables here")
    parser.add_argument(
        "--matched", type=float, default=0.5, metavar="X", help="false episodes per 10k rows to match at; 0: do not"
    )
    parser.add_argument(
        "--group", choices=("repository", "family"), default="repository", help="what intervals and halves keep whole"
    )
    parser.add_argument(
        "--halves", action="store_true", help="score two halves apart, too: tune on one, check the other"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of the calibration, for a quick look")
    return parser


def _run(asked: argparse.Namespace, console: Console) -> int:
    if asked.jobs < 1:
        raise UsageError(f"--jobs needs at least 1 process, got {asked.jobs}")
    if asked.markdown is not None and not asked.markdown.parent.is_dir():
        raise UsageError(f"cannot write {asked.markdown}: there is no folder {asked.markdown.parent}")
    data = DataSets(asked.corpus)
    detectors, notices = chosen(asked.only)
    for notice in notices:
        console.print(f"left out: {notice}")
    tables = []
    for name in dict.fromkeys(asked.data):
        began = time.perf_counter()
        try:
            for table in _tables(name, detectors, data, asked):
                tables.append(table)
                console.print(table.rich())
        except NotHere as missing:
            console.print(f"{name}: skipped, {missing}")
            continue
        console.print(f"{name}: {time.perf_counter() - began:.0f} s with {asked.jobs} processes\n")
    if asked.markdown is not None:
        command = "python -m benchmarks.detection " + " ".join(sys.argv[1:])
        parts = [*(table.markdown() for table in tables), provenance(command.strip())]
        asked.markdown.write_text("\n".join(parts), encoding="utf-8")
    return 0


def _tables(name: str, detectors: Sequence[Baseline], data: DataSets, asked: argparse.Namespace) -> Iterator[Table]:
    if name == _CALIBRATION:
        yield _calibration(data, asked)
        return
    if name == _BAD_BATCHES:
        yield _bad_batches(data, asked)
        return
    curves = data.load(name)
    source_of = _source_of(asked.group)
    title = f"{TITLES[name]}: {describe(curves)}"
    results = measure(detectors, curves, source_of=source_of, jobs=asked.jobs)
    yield score_table(f"{title}; default settings", results, _COLUMNS)
    for result in results:
        if isinstance(result.detector, OurDetector | OfflineDetector):
            yield class_table(f"{TITLES[name]}: {result.detector.name} by class", result, _NOTICED)
    if asked.halves:
        for half in filter(None, halves(curves, source_of)):
            part = [curve for curve in curves if source_of(curve) in half]
            title = f"{TITLES[name]}, only {', '.join(half)}: {describe(part)}"
            yield score_table(f"{title}; default settings", [result.of(half) for result in results], _COLUMNS)
    if asked.matched > 0:
        same = matched(detectors, curves, asked.matched, source_of=source_of, jobs=asked.jobs)
        matching = {result.detector.name for result in same}
        louder = [d.name for d in detectors if is_adjustable(d) and d.name not in matching]
        note = f"louder at every limit: {', '.join(louder)}; {_COLUMNS}" if louder else _COLUMNS
        yield score_table(f"{TITLES[name]}; at most {asked.matched:g} false episodes per 10k rows", same, note)


def _calibration(data: DataSets, asked: argparse.Namespace) -> Table:
    note = "alerts per 10,000 rows with 95 % Poisson intervals; real curves: rows in no window of a labelled event"
    try:
        corpus = data.corpus(whole=True)
    except NotHere as missing:
        corpus, note = [], f"{note}; without real curves: {missing}"
    rates = calibration(corpus, share=asked.share, jobs=asked.jobs)
    return calibration_table("Calibration of our detector: alerts raised for alerts asked", rates, note)


def _bad_batches(data: DataSets, asked: argparse.Namespace) -> Table:
    sets = {TITLES["natural"]: data.load("natural"), "Healthy small trainings": data.healthy_zoo()}
    whole = data.corpus(whole=True)
    sets |= {f"Planted, {low}-{high} sd": list(planted(whole, (low, high))) for low, high in SIZES}
    results = [(name, bad_batches(curves, jobs=asked.jobs)) for name, curves in sets.items()]
    return bad_batch_table("Single bad batches, told as information", results, _BAD_BATCH_COLUMNS)


def _source_of(group: str) -> Callable[[Curve], str]:
    return family if group == "family" else lambda curve: curve.source


if __name__ == "__main__":
    sys.exit(main())
