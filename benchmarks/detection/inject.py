"""Events of known size in real noise: clean stretches of real curves with instabilities added to them.

Amplitudes are in robust sd of the noise around the event, on the logarithm of a signal unless it comes near zero. Bad
batches that the stretch holds by nature stay, as harmless events.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .curves import Curve, TrueEvent, Verdict
from .plan import Signal, echo, plan
from .scoring import covered

_MOST_ROWS = 8000
_FEWEST_ROWS = 1500
_ECHOED = 0.7  # share of the events that the gradient norm shows too


def inject(corpus: Sequence[Curve], *, replicates: int = 2, seed: int = 0) -> list[Curve]:
    """Curves with injected events from every curve of a corpus that has 1500 clean rows, at most 8000 of each.

    Args:
        corpus: whole curves, not cut.
        replicates: curves made of each, with events of their own; noise and natural bad batches are the same.
    """
    curves = []
    for stretch in (stretch for curve in corpus if (stretch := clean_stretch(curve)) is not None):
        loss = Signal.of(stretch.loss)
        norm = Signal.of(stretch.others["grad_norm"]) if "grad_norm" in stretch.others else None
        for k in range(replicates):
            rng = np.random.default_rng((seed, k, zlib.crc32(stretch.name.encode())))
            curves.append(_with_events(stretch, loss, norm, rng, f"{stretch.name}#{k}"))
    return curves


def clean_stretch(curve: Curve) -> Curve | None:
    """The longest part of a curve, cut to 8000 rows, outside the windows of events that are or may be instabilities."""
    is_clean = ~covered(curve, (Verdict.MUST, Verdict.OPTIONAL)) & np.isfinite(curve.loss)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_clean.astype(np.int8), [0]))))
    parts = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    first, end = max(parts, key=lambda part: part[1] - part[0], default=(0, 0))
    end = min(end, first + _MOST_ROWS)
    if end - first < _FEWEST_ROWS:
        return None
    inside = (replace(e, first=max(e.first - first, 0), last=min(e.last, end - 1) - first)
              for e in curve.events if e.verdict is Verdict.HARMLESS and e.last >= first and e.first < end)  # fmt: skip
    return Curve(
        name=curve.name,
        source=curve.source,
        steps=curve.steps[first:end],
        loss=curve.loss[first:end],
        others={name: values[first:end] for name, values in curve.others.items()},
        events=tuple(inside),
    )


def _with_events(curve: Curve, loss: Signal, norm: Signal | None, rng: np.random.Generator, name: str) -> Curve:
    added, norm_added = np.zeros(curve.rows), np.zeros(curve.rows)
    events: list[TrueEvent] = []
    for event, addition in plan(loss, rng):
        events.append(event)
        added += addition
        if norm is not None and event.verdict is Verdict.MUST and rng.random() < _ECHOED:
            norm_added += echo(event, norm, rng)
    others = dict(curve.others)
    if norm is not None:
        others["grad_norm"] = norm.raw(norm_added)
    return replace(
        curve,
        name=name,
        loss=loss.raw(added),
        others=others,
        events=tuple(sorted((*curve.events, *events), key=lambda event: event.first)),
    )
