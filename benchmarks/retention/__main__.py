"""python -m benchmarks.retention: train small models that forget or do not, and see what the tracker says of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.detection.errors import OneLineParser, UsageError

from .judging import judge_all, tables_of
from .scenarios import STEPS, planned
from .texts import Texts, read_texts
from .training import Rounds, train


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for something that cannot be used, told in one line."""
    try:
        asked = _parser().parse_args(argv)
        asked.do(asked)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.retention", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    texts = commands.add_parser("texts", help="read the domains once and write them to a file")
    texts.add_argument("file", type=Path, metavar="FILE.npz")
    texts.add_argument("--domains", type=Path, metavar="YAML", help="domains as in a probe file")
    texts.set_defaults(do=_write_texts)
    training = commands.add_parser("train", help="run the trainings, one file each; those that are there are kept")
    training.add_argument("texts", type=Path, metavar="FILE.npz")
    training.add_argument("folder", type=Path, metavar="FOLDER")
    training.add_argument("--seed", type=int, default=0, metavar="N", help="of the first training")
    training.add_argument("--layers", type=int, default=4, metavar="N")
    training.add_argument("--width", type=int, default=256, metavar="N")
    training.add_argument("--steps", type=int, default=STEPS, metavar="N")
    training.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", metavar="NAME")
    training.add_argument("--part", default="0/1", metavar="K/N", help="every N-th training, from the K-th on")
    training.set_defaults(do=_train)
    judging = commands.add_parser("judge", help="what the tracker says of trainings that were run")
    judging.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    judging.add_argument("--without-rate", action="store_true", help="do not tell the tracker the learning rate")
    judging.set_defaults(do=_judge)
    return parser


def _write_texts(asked: argparse.Namespace) -> None:
    texts = read_texts(asked.domains)
    texts.save(asked.file)
    for domain, train_bytes in texts.train.items():
        print(f"{domain}: {len(train_bytes):,} bytes to train on, {texts.sizes[domain].sum():,} held out")


def _train(asked: argparse.Namespace) -> None:
    try:
        texts = Texts.load(asked.texts)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{asked.texts} is no file that `texts` wrote: {error}") from None
    asked.folder.mkdir(parents=True, exist_ok=True)
    number, _, of = asked.part.partition("/")
    if not (number.isdigit() and of.isdigit() and int(number) < int(of)):
        raise UsageError(f"--part {asked.part}: give K/N with K below N, such as 0/2")
    for scenario in planned(list(texts.train), asked.seed)[int(number) :: int(of)]:
        path = asked.folder / f"{scenario.name}.npz"
        if path.exists():
            continue
        began = time.perf_counter()
        rounds = train(
            scenario, texts, torch.device(asked.device), steps=asked.steps, layers=asked.layers, width=asked.width
        )
        rounds.save(path)
        print(f"{scenario.name}: {time.perf_counter() - began:.1f} s", flush=True)


def _judge(asked: argparse.Namespace) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
    runs = {}
    for folder in asked.folders:
        for path in sorted(folder.glob("*.npz")):
            try:
                runs[f"{folder.name}/{path.stem}"] = Rounds.load(path)
            except (OSError, ValueError, KeyError) as error:
                raise UsageError(f"{path} is no training that `train` wrote: {error}") from None
    if not runs:
        raise UsageError(f"no trainings in {', '.join(map(str, asked.folders))}; run `train` first")
    for table in tables_of(judge_all(runs, with_rate=not asked.without_rate)):
        console.print(table.rich())


if __name__ == "__main__":
    sys.exit(main())
