"""What the results say of tokenizers."""

from __future__ import annotations

from collections.abc import Mapping

from ..results import Results
from .curves import outcomes
from .sheets import Sheet
from .wording import number, share

_COLUMNS = {
    "bytes_per_token": ("bytes/token", number),
    "fertility": ("tokens/word", number),
    "unknown_share": ("unknown", share),
    "byte_fallback_share": ("fallback", share),
    "vocabulary_use": ("used", share),
}


def tokenizer_sheet(results: Results) -> Sheet | None:
    """What tokenizers make of each domain; None if none was measured.

    One row for each domain, probe and tokenizer. Columns are there for what any of them has: those of comparisons say
    how many tokens this tokenizer needs for one of the other.
    """
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for model, probe in outcomes(results, "tokenization"):
        for domain, values in _domains(probe.metrics).items():
            # Checkpoints of a run have copies of one tokenizer, each named after its own directory.
            each = found.setdefault((domain, probe.name), {})
            if values not in each.values():
                each[model.tokenizer or model.name] = values
    if not found:
        return None
    names = {name for each in found.values() for values in each.values() for name in values}
    shown = [name for name in _COLUMNS if name in names] + sorted(name for name in names if "/" in name)
    titles = [_COLUMNS[name][0] if name in _COLUMNS else name.replace("/", " ") for name in shown]
    # Each of several probes may have a tokenizer of its own.
    has_probes = len({probe for _, probe in found}) > 1
    has_several = any(len(each) > 1 for each in found.values())
    rows = []
    for (domain, probe_name), each in found.items():
        for tokenizer, values in each.items():
            cells = [_COLUMNS.get(name, ("", number))[1](values.get(name)) for name in shown]
            which = [*([probe_name] if has_probes else []), *([tokenizer] if has_several else [])]
            rows.append([domain, *which, *cells])
    which = [*(["probe"] if has_probes else []), *(["tokenizer"] if has_several else [])]
    return Sheet(["text", *which, *titles], rows)


def _domains(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Values by domain, without their standard errors."""
    domains: dict[str, dict[str, float]] = {}
    for metric, value in metrics.items():
        # What they begin with is one part, and so is a domain.
        _, _, rest = metric.partition("/")
        domain, _, name = rest.partition("/")
        if not name.endswith("_se"):
            domains.setdefault(domain, {})[name] = value
    return domains
