"""The data sets of the benchmark by name, and which of them are here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .corpus import DEFAULT_FOLDER, load_corpus
from .curves import Curve
from .inject import inject
from .synthetic import synthetic
from .zoo.cases import CASES
from .zoo.load import load_zoo

NAMES = ("natural", "injected", "synthetic", "zoo")
TITLES = {
    "natural": "Natural events of real curves",
    "injected": "Events injected into real noise",
    "synthetic": "Synthetic curves with known truth",
    "zoo": "Small trainings with induced instabilities",
}

_FAULTY = {name for name, case in CASES.items() if case.twin}


class NotHere(Exception):
    """A data set that this machine does not have; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class DataSets:
    """Loads data sets.

    Args:
        folder: of the corpus; the default one may be missing, any other must be there.
    """

    folder: Path = DEFAULT_FOLDER

    def load(self, name: str) -> list[Curve]:
        """
        Raises:
            NotHere: the data set, or the default folder of the corpus, is not on this machine.
            UsageError: the folder that was asked for is no corpus.
        """
        loaders: dict[str, Callable[[], list[Curve]]] = {
            "natural": lambda: self.corpus(whole=False),
            "injected": lambda: inject(self.corpus(whole=True)),
            "synthetic": synthetic,
            "zoo": _zoo,
        }
        return loaders[name]()

    def healthy_zoo(self) -> list[Curve]:
        """Those of the zoo that nothing was done to; a change that was planned may still show in the loss."""
        return [curve for curve in self.load("zoo") if curve.name not in _FAULTY]

    def corpus(self, *, whole: bool) -> list[Curve]:
        if self.folder == DEFAULT_FOLDER and not self.folder.is_dir():
            raise NotHere("needs a corpus of real curves, and there is none beside the project; name one with --corpus")
        return load_corpus(self.folder, whole=whole)


def _zoo() -> list[Curve]:
    try:
        return load_zoo()
    except FileNotFoundError as missing:
        raise NotHere(f"{missing.filename} is not stored: run python -m benchmarks.detection.zoo") from missing


def describe(curves: Sequence[Curve]) -> str:
    sources = len({curve.source for curve in curves})
    musts = sum(event.verdict == "must" for curve in curves for event in curve.events)
    rows = sum(curve.rows for curve in curves)
    found = "1 event" if musts == 1 else f"{musts} events"
    return f"{len(curves)} curves of {sources} sources, {rows:,} rows, {found} that must be found"
