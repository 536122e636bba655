"""python -m benchmarks.probes: probes beside lm-evaluation-harness and the bare forward pass, one table."""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.detection.errors import OneLineParser, UsageError
from benchmarks.detection.provenance import provenance
from pretrain_monitor.probes.question_files import load_suite
from pretrain_monitor.probes.texts import load_domain

from . import agreement, memory, model, speed
from .figures import Figure, machine, table_of
from .harness import Harness
from .needed import missing

SECTIONS = ("agreement", "speed", "memory")
# A cloze task and two of choices, and the share of the documents on which they are timed: long ones take minutes.
TASKS = {"lambada/bpb_0shot": 1.0, "arc_easy/rc_0shot": 1.0, "hellaswag/rc_0shot": 0.4}
FEW_SHOT = {"arc_easy/rc_5shot": 0.25}
CONTEXT = 2048
SHORT_CONTEXT = 1024  # so that some of the texts are longer
DOMAINS = {"code": {"stdlib": "*.py"}, "documentation": {"module": "pydoc_data.topics", "name": "topics"}}
_NOTE = (
    "beside: lm-evaluation-harness, where it does not say bare forward; some 9e-6 nats a token get lost in its "
    "softmax, which is torch's in float32 on a CPU; ratios: median of the turns and both ends, all from this run"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for something that cannot be used, told in one line."""
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
    try:
        return _run(_parser().parse_args(argv), console)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.probes", description=__doc__)
    parser.add_argument("--model", type=Path, metavar="PATH", help="directory or .gguf file; SmolLM2-135M by default")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="PART", help="of the figures")
    parser.add_argument("--documents", type=int, default=100, metavar="N", help="of each task; a third of it, of texts")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of which times are the median")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of torch")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table here")
    return parser


def _run(asked: argparse.Namespace, console: Console) -> int:
    for name in ("documents", "turns", "threads"):
        if getattr(asked, name) < 1:
            raise UsageError(f"--{name} needs at least 1, got {getattr(asked, name)}")
    if asked.markdown is not None and not asked.markdown.parent.is_dir():
        raise UsageError(f"cannot write {asked.markdown}: there is no folder {asked.markdown.parent}")
    if asked.model is not None and not asked.model.exists():
        raise UsageError(f"--model {asked.model} does not exist; give a model's directory or .gguf file")
    torch.set_num_threads(asked.threads)
    path = (asked.model or model.packaged()).resolve()
    for line in missing(("lm_eval", "olmo_eval")):
        console.print(f"left out what needs it: {line}")
    before, began = machine(), time.perf_counter()
    figures = []
    for figure in _figures(path, asked):
        figures.append(figure)
        console.print(f"{figure.what}: {figure.here}", style="dim")  # some take minutes
    minutes = (time.perf_counter() - began) / 60
    note = f"{_NOTE}; {before} before and {machine()} after {minutes:.0f} minutes"
    table = table_of(f"Probes on {path.stem if path.is_file() else path.name}", figures, note)
    console.print(table.rich())
    if asked.markdown is not None:
        command = "python -m benchmarks.probes " + " ".join(sys.argv[1:])
        asked.markdown.write_text(f"{table.markdown()}\n{provenance(command.strip())}", encoding="utf-8")
    return 0


def _figures(path: Path, asked: argparse.Namespace) -> Iterator[Figure]:
    if "memory" in asked.only:
        # First: while they run, this process holds no model.
        if not memory.is_measurable():
            raise UsageError("peak memory is read from Linux's /proc: give --only agreement speed")
        yield from memory.of_perplexity(path)
    if set(asked.only) == {"memory"}:
        return
    loaded, tokenizer = model.load(path)
    make: Callable[..., Harness] = partial(Harness, loaded, tokenizer)
    lacking = missing(("lm_eval", "olmo_eval"))
    if "agreement" in asked.only and not missing(("lm_eval",)):
        if not lacking:
            for task in TASKS:
                yield from agreement.of_suite(loaded, tokenizer, _suite(task, asked.documents), make, CONTEXT)
        for domain, source in DOMAINS.items():
            texts = some_texts(domain, source, -(-asked.documents // 6))
            yield from agreement.of_texts(loaded, tokenizer, domain, texts, make, SHORT_CONTEXT)
    if "speed" in asked.only:
        texts = some_texts("documentation", DOMAINS["documentation"], -(-asked.documents // 12))
        yield from speed.of_perplexity(loaded, tokenizer, "documentation", texts, asked.turns)
        for task, share in () if lacking else (TASKS | FEW_SHOT).items():
            suite = _suite(task, math.ceil(share * asked.documents))
            yield from speed.of_choice(loaded, tokenizer, suite, make, CONTEXT, asked.turns)


def _suite(task: str, documents: int) -> Any:
    name, _, variant = task.partition("/")
    shots = variant.rpartition("_")[2]
    return load_suite(f"{name}_{shots}", f"olmo:{task}", limit=documents)


def some_texts(domain: str, source: Any, count: int, longest: int = 8000) -> list[str]:
    """Texts of a domain, evenly spaced over those of at most so many characters: a few long ones would take it all."""
    texts = [one.text for one in load_domain(domain, source) if len(one.text) <= longest]
    count = min(count, len(texts))
    return [texts[(2 * turn + 1) * len(texts) // (2 * count)] for turn in range(count)]


if __name__ == "__main__":
    # Of the whole process, and so not in main(), which tests call.
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    sys.exit(main())
