"""Numbers and sentences that the terminal and the page share."""

from __future__ import annotations

import math

from ..gaps import Gap, few, notes_on_gaps
from ..results import ModelResult, ProbeOutcome, Results

NO_VALUE = "-"

_CHANGE = (
    "against best: what the last model needs more than the best one, with its interval over the same documents; "
    "worse: by more than documents and, for checkpoints of a run, its fluctuation from one to the next explain"
)


def number(value: float | None, digits: int = 4) -> str:
    """With so many significant digits, and thousands parted.

    >>> number(12345.678), number(0.91237), number(None)
    ('12,346', '0.9124', '-')
    """
    if value is None:
        return NO_VALUE
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.3g}" if places > digits + 3 else f"{value:,.{max(places, 0)}f}"


def share(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.1%}"


def gap_words(found: Gap | None) -> str:
    """With its sign, its interval, and whether the documents could be paired."""
    if found is None:
        return NO_VALUE
    words = f"{found.value:+.4f}"
    if found.lower is not None and found.upper is not None:
        words += f" ({found.lower:+.4f} to {found.upper:+.4f})"
    return words if found.is_paired else f"{words}, not paired"


def model_words(model: ModelResult) -> str:
    """What is known of a model besides its name."""
    parts = [f"step {model.step:,}"] if model.step is not None else []
    parts += [words for words in (size_words(model),) if words]
    if model.tokenizer is not None:
        parts.append(f"tokenizer {model.tokenizer}")
    return "; ".join(parts)


def size_words(model: ModelResult) -> str:
    """What checkpoints of one run have in common."""
    parts = []
    if model.parameters is not None:
        parts.append(f"{model.parameters:,} parameters, {model.dtype}")
    if model.vocabulary is not None:
        parts.append(f"{model.vocabulary:,} tokens known")
    return "; ".join(parts)


def cost_words(probe: ProbeOutcome) -> str:
    """What a probe took."""
    words = f"{probe.seconds:,.1f} s"
    if probe.tokens_per_second is not None:
        words += f", {probe.tokens_per_second:,.0f} tokens/s"
    if probe.peak_memory is not None:
        words += f", {probe.peak_memory / 1e9:,.2f} GB at most"
    return words


def notes(results: Results, reference: ModelResult | None = None) -> list[str]:
    """Each note once, with the models that it is about where these are not all; then what the columns mean."""
    about: dict[str, list[str]] = {}
    for model in results.measured:
        own = [*model.notes, *(f"{probe.name}: {note}" for probe in model.probes for note in probe.notes)]
        for note in dict.fromkeys(own):
            about.setdefault(note, []).append(model.name)
    found = [note if len(names) == len(results.measured) else f"{note} ({few(names)})" for note, names in about.items()]
    if any(probe.kind in ("choice", "facts") and probe.metrics for model in results.measured for probe in model.probes):
        found.append("tasks: bits/byte is what the right answers cost; it moves long before accuracy leaves chance")
    if any(probe.kind == "facts" and probe.metrics for model in results.measured for probe in model.probes):
        found.append("facts: learned is what they cost less, in bits per byte, than those that were never told")
    if sum(bool(model.scores) for model in results.measured) > 1:
        found.append(_CHANGE)
    return found if reference is None else found + _of_reference(results, reference)


def _of_reference(results: Results, reference: ModelResult) -> list[str]:
    """What the gaps to a reference are, and of what there are none, or not quite such."""
    # As the gaps are: of the last model that was measured on it.
    last = {name: model for model in results.measured for name in model.scores}
    measured = {name: (model.scores[name], model.reading_of(name)) for name, model in last.items()}
    head = f"gap to reference: what the last model needs more than {reference.name}; below 0 it is better"
    return [head, *notes_on_gaps(reference, measured)]
