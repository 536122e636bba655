"""Which domains has the model not learned?"""

from __future__ import annotations

import math

import numpy as np

from .courses import last_values, short, texts
from .found import finding
from .material import Material
from .model import Finding, Table
from .words import cell, counted, number

_FEWEST_DOMAINS = 3
_NO_DOMAINS = "held-out texts of three domains or more, each large enough for a compressor"


def findings(material: Material) -> list[Finding]:
    return [_compressor(material), _behind(material)]


def _compressor(material: Material) -> Finding:
    """Bits of a general compressor over those of the model, of the domain where that is least."""
    found = last_values(material, "/coverage")
    worst = min(found, key=found.__getitem__, default=None)
    rows = [[short(name), f"{value:.2f}"] for name, value in sorted(found.items(), key=lambda entry: entry[1])]
    behind = [name for name, value in found.items() if value <= 1]
    if worst is None:
        summary = ""
    elif behind:
        summary = f"{counted(len(behind), 'domain')} no better than xz: {', '.join(map(short, behind[:3]))}"
    else:
        summary = f"on every domain better than xz, least on {short(worst)}: {found[worst]:.2f} times fewer bits"
    return finding(
        "coverage/compressor",
        "Against a general compressor",
        None if worst is None else found[worst],
        unit="times fewer bits",
        bound="at_least",
        missing="" if found else _NO_DOMAINS,
        summary=summary,
        table=Table(titles=["domain", "bits of xz over the model's"], rows=rows, marked=list(range(len(behind))))
        if rows
        else None,
        advice="The domain is missing in the data, or the held-out text has another form than what was trained on.",
    )


def _behind(material: Material) -> Finding:
    """How far the worst domain is behind the model's own average, with what a compressor says of its difficulty."""
    found = {one.domain: one.newest for one in texts(material) if one.metric.endswith("/bits_per_byte")}
    hard = last_values(material, "/compressor_bits_per_byte")
    has_hardness = len(found) >= _FEWEST_DOMAINS and all(hard.get(name, 0.0) > 0 for name in found)
    # Some texts are harder for everybody.
    relative = {name: value / (hard[name] if has_hardness else 1.0) for name, value in found.items()}
    ratios = {}
    for name, value in relative.items():
        others = [math.log(max(other, 1e-12)) for key, other in relative.items() if key != name]
        if others:
            ratios[name] = value / math.exp(float(np.median(others)))
    is_known = len(found) >= _FEWEST_DOMAINS
    worst = max(ratios, key=ratios.__getitem__, default=None) if is_known else None
    rows = [
        [short(name), number(found[name]), cell(hard.get(name)), f"{ratio:.2f}"]
        for name, ratio in sorted(ratios.items(), key=lambda entry: -entry[1])
    ]
    basis = "for their difficulty, by xz," if has_hardness else "in bits per byte,"
    return finding(
        "coverage/behind",
        "Domains behind the average",
        None if worst is None else ratios[worst],
        unit="times the others",
        missing="" if is_known else _NO_DOMAINS,
        summary=""
        if worst is None
        else f"{short(worst)} is furthest behind: {basis} it costs {ratios[worst]:.2f} times what the others do",
        table=Table(titles=["domain", "bits per byte", "xz", "over the others"], rows=rows) if is_known else None,
        advice="Put more of this domain into the mix, if it is to be used there.",
    )
