"""What probes found of one or several models, as a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..printable import shown_path
from ..telemetry import spell_nonfinite
from .base import ProbeError, Scores
from .rounds import scores_from_json, scores_to_json

# What the note begins with that says how documents were cut into rows.
READING = "documents "
# What a note holds that is about one.
REFERENCE = "the reference"
FORMAT = "pretrain-monitor probe results"
VERSION = 1


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """One probe on one model.

    Args:
        kind: perplexity, choice, facts or tokenization.
        tokens_per_second: None if the probe reads no model.
        peak_memory: bytes, of the device or, on a processor, of the whole program; None if nobody knows.
        scores: by the part of a metric's name that its domain shares.
        problem: why there are no metrics, in a line; None if there are.
    """

    name: str
    kind: str
    metrics: Mapping[str, float]
    scores: Mapping[str, Scores]
    notes: Sequence[str]
    seconds: float
    tokens_per_second: float | None = None
    peak_memory: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ModelResult:
    """All probes on one model.

    Args:
        path: as it was given.
        name: short, and different from that of the others.
        step: optimizer steps it was trained for; None if nobody knows.
        parameters: how many; None, as is the dtype, if no probe needed the model.
        tokenizer: name of it.
        vocabulary: size of the tokenizer's.
        problem: why the model could not be measured at all.
    """

    path: str
    name: str
    step: int | None = None
    parameters: int | None = None
    dtype: str | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None
    load_seconds: float = 0.0
    probes: Sequence[ProbeOutcome] = ()
    notes: Sequence[str] = ()
    problem: str | None = None

    @property
    def scores(self) -> dict[str, Scores]:
        """Of all probes, by the part of a metric's name that its domain shares."""
        return {domain: scores for probe in self.probes for domain, scores in probe.scores.items()}

    @property
    def metrics(self) -> dict[str, float]:
        return {name: value for probe in self.probes for name, value in probe.metrics.items()}

    def scores_of(self, name: str) -> Scores | None:
        """Of a domain, or of all documents of a probe, whose average is called ``micro``; None if there are none."""
        probe, _, domain = name.rpartition("/")
        if domain != "micro":
            return self.scores.get(name)
        parts = [scores for key, scores in self.scores.items() if key.rpartition("/")[0] == probe]
        if not parts:
            return None
        return Scores(
            np.concatenate([part.nats for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.bytes for part in parts]),
            " ".join(part.key for part in parts),
        )

    def reading_of(self, name: str) -> str | None:
        """How the documents of a domain were cut into rows, in words; None if it was not said."""
        for probe in self.probes:
            if name in probe.scores:
                return next((note for note in probe.notes if note.startswith(READING)), None)
        return None

    @property
    def problems(self) -> list[str]:
        """Everything that failed, a line each."""
        own = [self.problem] if self.problem is not None else []
        return own + [f"{probe.name}: {probe.problem}" for probe in self.probes if probe.problem is not None]


@dataclass(frozen=True, slots=True)
class Results:
    """Probes on models, in the order in which the models were given.

    Args:
        probe_file: they were described in.
        device: cpu, cuda:0 and so on.
        versions: of what took part, by package.
        made: date and time, for people.
    """

    models: Sequence[ModelResult]
    probe_file: str = ""
    device: str = "cpu"
    versions: Mapping[str, str] = field(default_factory=dict)
    made: str = ""

    @property
    def measured(self) -> list[ModelResult]:
        """The models of which there are any numbers."""
        return [model for model in self.models if any(probe.metrics for probe in model.probes)]


def read_reference(path: str | Path) -> ModelResult:
    """The last model in a file of results, for others to be held against.

    Raises:
        ProbeError: there is no such file, or no model in it.
    """
    measured = read_results(path).measured
    if not measured:
        raise ProbeError(f"results {shown_path(path)}: no model was measured")
    return measured[-1]


def write_results(results: Results, path: Path) -> None:
    """Write whole or not at all: the file may hold what hours of work have found so far."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        "made": results.made,
        "versions": dict(results.versions),
        "probe_file": results.probe_file,
        "device": results.device,
        "models": [_model_to_json(model) for model in results.models],
    }
    text = json.dumps(spell_nonfinite(record), allow_nan=False) + "\n"
    path = path.resolve()  # a link stays one
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_results(path: str | Path) -> Results:
    """The results in a file.

    Raises:
        ProbeError: there is none, or it holds something else.
    """
    where = f"results {shown_path(path)}"
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProbeError(f"{where}: no such file; pretrain-monitor probe --json writes one") from None
    except OSError as problem:
        raise ProbeError(f"{where}: cannot be read: {problem.strerror or problem}") from None
    except (ValueError, RecursionError):
        raise ProbeError(f"{where}: not JSON; give a file that pretrain-monitor probe --json wrote") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ProbeError(f"{where}: no results of probes; give a file that pretrain-monitor probe --json wrote")
    if record.get("version") != VERSION:
        raise ProbeError(
            f"{where}: written in version {record.get('version')!r} of the format, and this program reads {VERSION}"
        )
    try:
        models = tuple(_model_from_json(model) for model in record["models"])
        return Results(
            models, str(record["probe_file"]), str(record["device"]), dict(record["versions"]), str(record["made"])
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as problem:
        raise ProbeError(f"{where}: damaged: {type(problem).__name__} {problem}") from None


def _model_to_json(model: ModelResult) -> dict[str, Any]:
    return {
        **{name: getattr(model, name) for name in _FACTS},
        "notes": list(model.notes),
        "probes": [_probe_to_json(probe) for probe in model.probes],
    }


def _probe_to_json(probe: ProbeOutcome) -> dict[str, Any]:
    return {
        **{name: getattr(probe, name) for name in _PROBE_FACTS},
        "notes": list(probe.notes),
        "metrics": dict(probe.metrics),
        "scores": {domain: scores_to_json(scores) for domain, scores in probe.scores.items()},
    }


def _model_from_json(record: Mapping[str, Any]) -> ModelResult:
    facts = {name: record[name] for name in _FACTS}
    return ModelResult(
        **facts, notes=tuple(record["notes"]), probes=tuple(_probe_from_json(probe) for probe in record["probes"])
    )


def _probe_from_json(record: Mapping[str, Any]) -> ProbeOutcome:
    facts = {name: record[name] for name in _PROBE_FACTS}
    return ProbeOutcome(
        **facts,
        notes=tuple(record["notes"]),
        # float() also reads "NaN" and "Infinity".
        metrics={name: float(value) for name, value in record["metrics"].items()},
        scores={domain: scores_from_json(scores) for domain, scores in record["scores"].items()},
    )


_FACTS = ("path", "name", "step", "parameters", "dtype", "tokenizer", "vocabulary", "load_seconds", "problem")
_PROBE_FACTS = ("name", "kind", "seconds", "tokens_per_second", "peak_memory", "problem")


def other_reading(reference: ModelResult, name: str, reading: str | None) -> str | None:
    """What to say where a reference was read in other rows than a model of which this is the reading."""
    other = reference.reading_of(name)
    if reading is None or other is None or other == reading:
        return None
    return f"{REFERENCE} read its {other}: the gap is also one of how much is seen before a token"
