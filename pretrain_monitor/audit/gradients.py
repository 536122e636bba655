"""Were the gradients healthy?"""

from __future__ import annotations

import numpy as np

from .fits import blocks, slope
from .found import finding
from .material import Material
from .model import Finding, Place
from .words import number, percent

_NO_NORM = "the gradient norm of single steps, before clipping"
_FEWEST_ROWS = 200
_SETTLED = 0.1  # of the run: before it gradients settle
_LEAST_DOUBLINGS = 0.5
_EXACT = 1e-3  # relative: so near to the limit is a norm that was logged after clipping


def findings(material: Material) -> list[Finding]:
    return [_trend(material), _clipped(material), _late_growth(material)]


def _trend(material: Material) -> Finding:
    norm = material.grad_norm.part(_begin(material), material.last_step)
    if len(norm) < _FEWEST_ROWS or norm.values.min() <= 0:
        return finding("gradients/trend", "Trend of the gradient norm", None, missing=_NO_NORM)
    parts = blocks(norm)
    doublings = np.log2(np.maximum(parts.steps, 1.0))
    if doublings[-1] - doublings[0] < _LEAST_DOUBLINGS:
        missing = "a run over more than half a doubling of its steps"
        return finding("gradients/trend", "Trend of the gradient norm", None, missing=missing)
    change = float(np.expm1(slope(doublings, np.log(np.maximum(parts.values, 1e-300)))))
    return finding(
        "gradients/trend",
        "Trend of the gradient norm",
        100.0 * change,
        unit="%",
        summary=f"the norm changes by {change:+.1%} for each doubling of the steps, "
        f"from {number(float(parts.values[:3].mean()))} to {number(float(parts.values[-3:].mean()))}",
        advice="A norm that grows all the time goes before divergence: look at weight decay, the rate, late layers.",
    )


def _clipped(material: Material) -> Finding:
    """Share of the steps behind the beginning whose gradient was larger than what it was clipped to."""
    norm, limit = material.grad_norm.part(_begin(material), material.last_step), material.max_grad_norm
    if len(norm) < _FEWEST_ROWS or limit is None:
        missing = _NO_NORM if len(norm) < _FEWEST_ROWS else "the norm that gradients are clipped to (max_grad_norm)"
        return finding("gradients/clipped", "Clipped steps", None, missing=missing)
    over = norm.values > limit * (1 + _EXACT)
    at_limit = float(np.mean(np.abs(norm.values / limit - 1) <= _EXACT))
    if at_limit > 0.05 and not over.any():
        # Nobody has a norm of exactly the limit but whoever was clipped to it.
        share, note = at_limit, "the norm was logged after clipping: those exactly at the limit are counted"
    else:
        share, note = float(over.mean()), ""
    return finding(
        "gradients/clipped",
        "Clipped steps",
        100.0 * share,
        unit="%",
        summary=f"{percent(share)} of the gradients were larger than {limit:g} and were clipped",
        evidence=[note] if note else [],
        advice="Where most steps are clipped the rate that is set is not the rate that is used: raise the limit, or "
        "lower the rate.",
    )


def _late_growth(material: Material) -> Finding:
    norm = material.grad_norm
    rows = len(norm)
    if rows < _FEWEST_ROWS:
        return finding("gradients/late_growth", "Late growth of the gradient norm", None, missing=_NO_NORM)
    middle = float(np.median(norm.values[rows * 3 // 10 : rows * 6 // 10]))
    late = float(np.median(norm.values[-rows // 10 :]))
    if middle <= 0:
        return finding(
            "gradients/late_growth", "Late growth of the gradient norm", None, missing="a gradient norm above zero"
        )
    return finding(
        "gradients/late_growth",
        "Late growth of the gradient norm",
        late / middle,
        unit="times",
        summary=f"the norm ended at {number(late)}, {late / middle:.2f} times what it was in the middle of the run",
        places=[Place(signal="grad_norm", first_step=int(norm.steps[-(rows // 10)]), last_step=material.last_step)],
        advice="Growth by half is usual where the rate decays. More says that the model is getting harder to move: "
        "look at weight decay, and at the norms of single layers.",
    )


def _begin(material: Material) -> int:
    return int(material.first_step + _SETTLED * (material.last_step - material.first_step))
