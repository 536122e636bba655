"""What the model makes of text that it was not trained on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..viewing.series import Floats, Ints
from .courses import Course, courses, last_values, texts
from .fits import trimmed
from .found import finding
from .material import Material, Signal
from .model import Finding, Place, Table
from .words import cell, counted, number, percent

_NO_ROUNDS = "rounds of held-out texts (PerplexityProbe, or pretrain-monitor audit --model)"
_NO_COURSE = "several rounds of held-out texts during the run (PerplexityProbe)"
_FEWEST_ROUNDS = 4
_AROUND = 0.01  # of the run, over which the training loss beside a round is averaged
_EARLY = 0.1  # of the run: before it everything falls fast
_SUDDEN = 6.0  # robust spreads of what a domain does from one round to the next beside the others


def findings(material: Material) -> list[Finding]:
    return [_level(material), _trend(material), _gap(material), _contamination(material)]


def _level(material: Material) -> Finding:
    """Of all documents together, or of the only domain."""
    found = texts(material)
    perplexities = last_values(material, "/perplexity")
    rows = [
        [
            one.name,
            number(one.newest),
            _interval(one),
            cell(perplexities.get(one.domain)),
            f"{len(one.values)}",
        ]
        for one in found
    ]
    average = [one for one in courses(material) if one.is_average and not one.is_task and one.domain.endswith("/micro")]
    chosen = average[0] if average else (found[0] if len(found) == 1 else None)
    value = chosen.newest if chosen is not None else (float(np.mean([one.newest for one in found])) if found else None)
    unit = _unit(chosen or found[0]) if found else ""
    return finding(
        "held_out/level",
        "Held-out level",
        value,
        unit=unit,
        missing="" if found else _NO_ROUNDS,
        summary=f"{number(value)} {unit} over {counted(len(found), 'domain')}" if value is not None else "",
        table=Table(titles=["domain", unit or "value", "95 %", "perplexity", "rounds"], rows=rows) if rows else None,
        places=[Place(signal=one.metric, first_step=int(one.steps[-1]), last_step=int(one.steps[-1])) for one in found],
        advice="Compare with a model of this size that is known to be good.",
    )


def _trend(material: Material) -> Finding:
    """The largest rise of a domain over its best round, as far as its documents or its other rounds make it sure."""
    # Two or three rounds that nobody paired say nothing of what is chance.
    found = [one for one in texts(material) if _is_tested(one) or len(one.values) >= _FEWEST_ROUNDS]
    rises = [(one, _sure_rise(one)) for one in found]
    worst, rise = max(rises, key=lambda entry: entry[1], default=(None, 0.0))
    rows, marked = [], []
    for at, (one, sure) in enumerate(rises):
        best = int(np.argmin(one.values))
        rows.append(
            [one.name, number(float(one.values[best])), f"{one.steps[best]:,.0f}", number(one.newest), f"{sure:.2%}"]
        )
        if sure > 0:
            marked.append(at)
    if worst is not None and rise > 0:
        summary = f"{worst.name} is {percent(rise)} worse than in its best round, at step {_best_step(worst):,}"
    else:
        summary = f"no domain is clearly worse at the end than in its best round ({counted(len(found), 'domain')})"
    return finding(
        "held_out/trend",
        "Held-out trend",
        100.0 * rise if found else None,
        unit="%",
        missing="" if found else _NO_COURSE,
        summary=summary if found else "",
        table=Table(titles=["domain", "best", "at step", "newest", "surely worse by"], rows=rows, marked=marked)
        if rows
        else None,
        places=[Place(signal=worst.metric, first_step=_best_step(worst), last_step=int(worst.steps[-1]))]
        if worst is not None and rise > 0
        else [],
        advice="Go back to the checkpoint of the best round, or put the domain back into the mix.",
    )


def _is_tested(one: Course) -> bool:
    return len(one.values) >= 2 and one.change is not None and one.change["lower"] is not None


def _sure_rise(one: Course) -> float:
    """Of the newest value over the best, as a share of it; 0 unless it is beyond chance."""
    best = float(np.min(one.values))
    rise = (one.newest - best) / best if best > 0 else 0.0
    if rise <= 0:
        return 0.0
    change = one.change
    if change is not None and change["lower"] is not None:
        return rise if change["lower"] > 0 and rise > _wobble(one) else 0.0
    # Nobody paired the documents: the rounds themselves say how much they vary.
    return rise if len(one.values) >= _FEWEST_ROUNDS and rise > _wobble(one) else 0.0


def _wobble(one: Course) -> float:
    """What the course does from one round to the next by itself, as a share: three times its usual departure."""
    late = one.values[len(one.values) // 3 :]
    if len(late) < 4:
        return 0.005
    return 3.0 * float(np.median(np.abs(np.diff(late, 2)))) / math.sqrt(6) / 0.6745 / max(one.newest, 1e-12)


def _best_step(one: Course) -> int:
    return int(one.steps[int(np.argmin(one.values))])


def _gap(material: Material) -> Finding:
    """How much the distance between held-out and training loss has grown since it was smallest, in nats per token."""
    found = _loss_courses(material)
    gaps: list[tuple[str, Ints, Floats, Floats]] = []  # name, steps, gap, training loss
    for name, signal in found.items():
        beside = np.array([_training_loss(material, step) for step in signal.steps])
        keep = np.isfinite(beside) & (signal.steps >= material.first_step + _EARLY * _length(material))
        if keep.sum() >= _FEWEST_ROUNDS:
            gaps.append((name, signal.steps[keep], signal.values[keep] - beside[keep], beside[keep]))
    grown, rows = [], []
    for name, _, above, beside in gaps:
        growth = _growth(above, beside)
        grown.append(growth)
        rows.append([name, f"{above[0]:+.3f}", f"{above[-1]:+.3f}", f"{growth:+.3f}"])
    worst = int(np.argmax(grown)) if grown else -1
    marked = [at for at, growth in enumerate(grown) if growth > 0.05]
    missing = "" if gaps else _NO_COURSE
    if not gaps:
        summary = ""
    elif grown[worst] > 0:
        summary = f"the distance to the training loss has grown by {grown[worst]:.3f} nats for {gaps[worst][0]}"
    else:
        summary = "the distance between held-out and training loss has not grown"
    return finding(
        "held_out/gap",
        "Held-out against training",
        grown[worst] if gaps else None,
        unit="nats",
        missing=missing,
        summary=summary,
        table=Table(titles=["domain", "gap at first", "gap at the end", "surely grown by"], rows=rows, marked=marked)
        if rows
        else None,
        places=[
            Place(signal=f"{gaps[worst][0]}/loss", first_step=int(gaps[worst][1][0]), last_step=int(gaps[worst][1][-1]))
        ]
        if gaps and grown[worst] > 0
        else [],
        advice="The model learns its training text by heart: more data, or fewer passes over it.",
    )


def _growth(gap: Floats, training: Floats) -> float:
    """By how many nats a gap has grown since it was smallest, as far as that is sure.

    Of a domain that is easier than the training text the gap is a share of the loss, and closes as that falls; of one
    that is harder it stays. Nobody knows which, so it has to have grown in both ways.
    """
    both = (gap, np.log(np.maximum(gap + training, 1e-12) / training) * training[-1])
    found = []
    for one in both:
        # Of three rounds each: a single one may be lucky, and the smallest of many is.
        smooth = np.convolve(one, np.ones(3) / 3, mode="valid") if len(one) >= 5 else one
        spread = 1.4826 * float(np.median(np.abs(np.diff(one, 2)))) / math.sqrt(6) if len(one) >= 4 else 0.0
        found.append(float(smooth[-1] - smooth.min()) - 2 * spread)
    return max(min(found), 0.0)


class _Sudden(NamedTuple):
    domain: str
    step: int
    before: int
    share: float
    beyond: float


def _contamination(material: Material) -> Finding:
    """A domain that suddenly gets much better than training and the other domains do: it may have been trained on."""
    late = material.first_step + _EARLY * _length(material)
    found = [one for one in texts(material) if (one.steps[1:] >= late).sum() >= _FEWEST_ROUNDS - 1]
    suspects = [one for course in found if (one := _sudden(material, course, found)) is not None]
    worst = max(suspects, key=lambda one: one.share, default=None)
    rows = [
        [one.domain, f"{one.before:,} to {one.step:,}", f"{one.share:.1%}", f"{one.beyond:.0f}"] for one in suspects
    ]
    return finding(
        "held_out/contamination",
        "Held-out text seen in training",
        100.0 * (worst.share if worst is not None else 0.0) if found else None,
        unit="%",
        missing="" if found else _NO_COURSE,
        summary=f"{worst.domain} fell by {percent(worst.share)} between steps {worst.before:,} and {worst.step:,} "
        "beyond what the training loss and the other domains did: was it trained on?"
        if worst is not None
        else f"no domain fell suddenly by itself ({counted(len(found), 'domain')})"
        if found
        else "",
        table=Table(
            titles=["domain", "steps", "fell beyond the others by", "usual departures"],
            rows=rows,
            marked=list(range(len(rows))),
        )
        if rows
        else None,
        places=[Place(signal=worst.domain, first_step=worst.before, last_step=worst.step)] if worst is not None else [],
        advice="Look for its documents in the data of these steps, and take another held-out set for the verdict.",
    )


def _sudden(material: Material, course: Course, everyone: list[Course]) -> _Sudden | None:
    """The largest fall from one round to the next beyond what was usual, or None."""
    logs = np.log(np.maximum(course.values, 1e-12))
    moves = np.diff(logs)
    beside = np.array([math.log(max(_training_loss(material, step), 1e-12)) for step in course.steps])
    common = np.nan_to_num(np.diff(beside))
    others = [other for other in everyone if other is not course and np.array_equal(other.steps, course.steps)]
    if others:
        of_others = np.median([np.diff(np.log(np.maximum(other.values, 1e-12))) for other in others], axis=0)
        common = np.minimum(common, of_others)
    late = course.steps[1:] >= material.first_step + _EARLY * _length(material)
    own = moves - np.minimum(common, 0.0)
    if late.sum() < 3:
        return None
    # Its own usual departures, of the rounds before and after alike, and never less than half a percent.
    usual = np.median(own[late])
    spread = max(1.4826 * float(np.median(np.abs(own[late] - usual))), 0.005)
    # What is learned faster than the rest falls less from round to round: sudden is what falls more than before.
    before = np.concatenate([[usual], own[:-1]])
    falls = np.where(late, np.minimum(usual, before) - own, 0.0)
    # What came down over several rounds is one fall.
    at = int(np.argmax(falls))
    first, last = at, at
    while last + 1 < len(falls) and falls[last + 1] > _SUDDEN / 2 * spread:
        last += 1
    while first > 0 and falls[first - 1] > _SUDDEN / 2 * spread:
        first -= 1
    beyond = float(falls[at]) / spread
    if beyond < _SUDDEN:
        return None
    share = float(1 - math.exp(-falls[first : last + 1].sum()))
    return _Sudden(course.domain, int(course.steps[last + 1]), int(course.steps[first]), share, beyond)


def _loss_courses(material: Material) -> dict[str, Signal]:
    """By domain the held-out loss in nats per token, averages left out where there are domains."""
    found = {
        name.removesuffix("/loss"): material.signal(name)
        for name in material.content.series
        if name.startswith("heldout/") and name.endswith("/loss") and len(material.signal(name))
    }
    if not found:
        found = {
            one.domain: Signal(one.domain, one.steps.astype(np.int64), one.values)
            for one in texts(material)
            if "loss" in one.metric.lower()
        }
    domains = {name: signal for name, signal in found.items() if name.rpartition("/")[2] not in ("micro", "macro")}
    return domains or found


def _training_loss(material: Material, step: float) -> float:
    """Around a step, without what stands out; NaN where there is none."""
    reach = max(_AROUND * _length(material), 20.0)
    return trimmed(material.loss.part(step - reach, step + reach).values)


def _length(material: Material) -> int:
    return max(material.last_step - material.first_step, 1)


def _unit(one: Course) -> str:
    part = one.metric.rpartition("/")[2]
    return {"bits_per_byte": "bits per byte", "loss": "nats per token"}.get(part, "as logged")


def _interval(one: Course) -> str:
    return "-" if one.lower is None or one.upper is None else f"{one.lower:.4g} to {one.upper:.4g}"
