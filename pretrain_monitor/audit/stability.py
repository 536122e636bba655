"""Did the training run through without harm?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..telemetry import Incident, Kind, Status
from .damage import OF_LEVEL, Damage, damages
from .fits import noise
from .found import finding
from .learning import learning
from .material import TRAINING, Material
from .model import Finding, Place, Table
from .second_look import second_look
from .spike_score import SPREADS, WINDOW, spike_score
from .words import counted, number, percent, steps_of

_NO_LOSS = "the loss of single steps"
_LASTING = (Status.PERSISTENT, Status.ENDED_RUN, Status.OPEN)
_FEWEST_ROWS = 200  # of which something can be said about noise
_SHOWN = 20


def findings(material: Material) -> list[Finding]:
    found = damages(material)
    return [
        _nonfinite(material),
        _incidents(material, found),
        _spikes(material),
        _time(material),
        _excess(material),
        _damage(material, found),
        _noise(material),
        learning(material),
        second_look(material),
    ]


def _nonfinite(material: Material) -> Finding:
    """Updates with a value that is no number; those that were left out did no harm."""
    found = [one for one in material.incidents if one.kind is Kind.NONFINITE and one.is_alert]
    harmful = [one for one in found if not one.evidence.get("updates_left_out")]
    series = material.content.series.get("loss")
    steps = np.empty(0) if series is None else series.steps[~np.isfinite(series.values)]
    has_any = series is not None and len(series) > 0
    at = f", the first at step {int(steps[0]):,}" if len(steps) else ""
    summary = (
        f"{counted(len(harmful), 'time')} NaN or an infinite value reached the weights"
        if harmful
        else "no NaN and no infinite value reached the weights"
    )
    if len(found) > len(harmful):
        summary += f"; {counted(len(found) - len(harmful), 'time')} the update was left out"
    return finding(
        "stability/nonfinite",
        "NaN and infinite values",
        value=float(len(harmful)) if has_any else None,
        missing="" if has_any else _NO_LOSS,
        summary=summary,
        evidence=[f"{counted(len(steps), 'step')} with a loss that is no number{at}"] if len(steps) else [],
        places=_places(harmful),
        advice="Go back to a checkpoint before the first of these steps: weights that have seen NaN cannot be mended.",
    )


def _incidents(material: Material, found: Sequence[Damage]) -> Finding:
    """Alerts of the training that the run did not recover from."""
    alerts = material.alerts
    # What had not come back when it was last looked at live may have done so since.
    back = {one.incident.id for one in found if one.is_back}
    lasting = [one for one in alerts if one.status in _LASTING and one.id not in back]
    has_any = len(material.loss) > 0
    kinds = Counter(
        (one.kind.value, "recovered later" if one.status in _LASTING and one.id in back else one.status.value)
        for one in alerts
    )
    rows = [[kind, status.replace("_", " "), str(count)] for (kind, status), count in sorted(kinds.items())]
    marked = [at for at, row in enumerate(rows) if not row[1].startswith("recovered")]
    if not alerts:
        summary = "no alert in the whole run"
    elif lasting:
        summary = f"{counted(len(lasting), 'alert')} of {len(alerts)} did not recover: " + "; ".join(
            f"{one.kind.value} at step {one.onset_step:,}" for one in lasting[:3]
        )
    else:
        summary = f"{counted(len(alerts), 'alert')}, all recovered"
    rate = 1e4 * len(alerts) / max(material.facts.samples, 1)
    told = sum(one.is_alert and one.kind in TRAINING for one in material.incidents)
    evidence = [f"{rate:.2f} alerts per 10,000 samples"] if alerts else []
    if (dropped := sum(one.is_demoted for one in material.reviewed)) > 0:
        evidence.append(
            f"{dropped} of {counted(told, 'alert')} told during the run are not confirmed by what came after"
        )
    return finding(
        "stability/incidents",
        "Incidents without recovery",
        value=float(len(lasting)) if has_any else None,
        missing="" if has_any else _NO_LOSS,
        summary=summary,
        evidence=evidence,
        table=Table(titles=["kind", "outcome", "count"], rows=rows, marked=marked) if rows else None,
        places=_places(lasting or alerts),
        advice=lasting[0].advice if lasting else "",
    )


def _spikes(material: Material) -> Finding:
    loss, norm = material.loss, material.grad_norm
    is_known = len(loss) > _FEWEST_ROWS
    score, places = spike_score(loss.values) if is_known else (math.nan, np.empty(0))
    evidence = []
    if len(norm) > _FEWEST_ROWS:
        evidence.append(f"of the gradient norm: {spike_score(norm.values)[0]:.3f} %")
    alerts = [one for one in material.incidents if one.kind in (Kind.SPIKE, Kind.DIVERGENCE) and one.is_alert]
    batches = sum(one.kind is Kind.BAD_BATCH for one in material.incidents)
    evidence.append(
        f"beside it the detector told {counted(len(alerts), 'spike')} or divergences and "
        f"{counted(batches, 'single bad batch')}: it joins steps that belong together and leaves out what noise does"
    )
    return finding(
        "stability/spike_score",
        "Spike score of the loss",
        value=score if is_known else None,
        unit="%",
        missing="" if is_known else f"the loss of {_FEWEST_ROWS} steps or more",
        summary=f"{score:.3f} % of the losses are {SPREADS:g} standard deviations or more away from the mean of the "
        f"{WINDOW:,} before ({len(places):,} of {len(loss):,})"
        if is_known
        else "",
        evidence=evidence,
        places=[
            Place(signal="loss", first_step=int(loss.steps[at]), last_step=int(loss.steps[at]))
            for at in places[:_SHOWN].tolist()
        ],
        advice="Look at the batches of these steps; if they differ, lower the learning rate or Adam's beta2, or clip.",
    )


def _time(material: Material) -> Finding:
    """Share of the tokens, or steps where nobody counted tokens, within alerts."""
    spans = sorted((one.onset_step, material.end_of(one)) for one in material.alerts)
    joined: list[tuple[int, int]] = []
    for first, last in spans:
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    total = material.last_step - material.first_step + 1
    has_any = len(material.loss) > 1
    share = sum(last - first + 1 for first, last in joined) / max(total, 1)
    unit = "steps"
    tokens = material.content.tokens_at([material.first_step, material.last_step])
    if joined and len(material.content.tokens) > 1 and np.isfinite(tokens).all() and tokens[1] > tokens[0]:
        edges = material.content.tokens_at([step for span in joined for step in span])
        spent = np.nansum(edges[1::2] - edges[::2])
        share, unit = float(spent / (tokens[1] - tokens[0])), "tokens"
    return finding(
        "stability/time_in_incidents",
        "Time in incidents",
        value=100.0 * share if has_any else None,
        unit="%",
        missing="" if has_any else _NO_LOSS,
        summary=f"{percent(share)} of the {unit} were spent in {counted(len(spans), 'alert')} or on the way back"
        if spans
        else "no step was spent in an alert",
        places=_places(material.alerts),
        advice="Go back to before the longest of them, rather than train through it.",
    )


def _excess(material: Material) -> Finding:
    """What incidents cost: loss above the trend, summed over steps."""
    has_any = len(material.loss) > 1
    told = [
        (one, one.excess_loss)
        for one in material.alerts
        if one.excess_loss is not None and math.isfinite(one.excess_loss) and one.excess_loss > 0
    ]
    total = sum(excess for _, excess in told)
    steps = max(material.last_step - material.first_step + 1, 1)
    evidence = []
    seen = material.facts.tokens_seen
    if told and seen:
        evidence.append(f"{number(total * seen / steps)} nats x tokens")
    if told:
        worst, excess = max(told, key=lambda entry: entry[1])
        evidence.append(f"most of it at step {worst.onset_step:,} ({worst.kind.value}): {number(excess)} nats x steps")
    return finding(
        "stability/excess_loss",
        "Excess loss of incidents",
        value=total / steps if has_any else None,
        unit="nats per step of the run",
        missing="" if has_any else _NO_LOSS,
        summary=f"alerts cost {number(total)} nats x steps above the trend, {number(total / steps)} a step of the run"
        if told
        else "no alert cost anything above the trend",
        evidence=evidence,
        places=_places([one for one, _ in told]),
        advice="",
    )


def _damage(material: Material, measured: Sequence[Damage]) -> Finding:
    """What of an incident is still there long after it."""
    has_any = len(material.loss) > _FEWEST_ROWS
    found = measured if has_any else []
    left = [one for one in found if one.is_clear]
    judged = {one.incident.id for one in found}
    unjudged = [one for one in material.alerts if one.kind in OF_LEVEL and one.id not in judged]
    unknown = [one for one in unjudged if one.status in _LASTING]
    is_known = has_any and (bool(left) or not unknown)
    worst = max((one.share for one in left), default=0.0)
    rows = [_damage_row(one) for one in found[:_SHOWN]]
    marked = [at for at, one in enumerate(found[:_SHOWN]) if one.is_clear]
    if left:
        gravest = max(left, key=lambda one: one.share)
        summary = (
            f"after step {gravest.incident.onset_step:,} the loss stays {percent(gravest.share)} "
            f"({gravest.nats:+.4f} nats) above where the trend before it would be"
        )
    elif found:
        summary = f"after {counted(len(found), 'alert')} the loss came back to the trend before"
    else:
        summary = "no alert after which a level could be compared"
    titles = ["onset", "kind", "above the trend before", "standard errors", "measured in steps"]
    return finding(
        "stability/lingering_damage",
        "Lasting damage",
        value=100.0 * worst if is_known else None,
        unit="%",
        missing=""
        if is_known
        else "enough of the run on both sides of its alerts"
        if has_any
        else f"the loss of {_FEWEST_ROWS} steps or more",
        summary=summary if is_known else "",
        evidence=[f"{counted(len(unjudged), 'alert')} too near another or an end of the run to be compared"]
        if unjudged
        else [],
        table=Table(titles=titles, rows=rows, marked=marked) if rows else None,
        places=[
            Place(signal="loss", first_step=one.first_step, last_step=one.last_step, note="level after") for one in left
        ],
        advice="Compare held-out loss with that of a checkpoint from before it, and go back if that one is better.",
    )


def _damage_row(one: Damage) -> list[str]:
    return [
        f"{one.incident.onset_step:,}",
        one.incident.kind.value,
        f"{one.nats:+.4f} nats ({one.share:+.2%})",
        f"{one.nats / one.error:.1f}" if one.error > 0 else "-",
        steps_of(one.first_step, one.last_step),
    ]


def _noise(material: Material) -> Finding:
    loss = material.loss
    is_known = len(loss) > _FEWEST_ROWS
    middle, late = loss.values[len(loss) * 2 // 5 : len(loss) * 3 // 5], loss.values[-(len(loss) // 5) :]
    before, after = (noise(middle), noise(late)) if is_known else (math.nan, math.nan)
    is_known = is_known and before > 0
    ratio = after / before if is_known else math.nan
    return finding(
        "stability/noise_trend",
        "Noise of the loss",
        value=ratio if is_known else None,
        unit="times",
        missing="" if is_known else f"the loss of {_FEWEST_ROWS} steps or more, with noise in it",
        summary=f"from step to step the loss varies by {number(after)} nats in the last fifth, "
        f"{ratio:.2f} times what it was in the middle of the run"
        if is_known
        else "",
        places=[Place(signal="loss", first_step=int(loss.steps[-(len(loss) // 5)]), last_step=material.last_step)]
        if is_known
        else [],
        advice="Ask what changed: batch size, data mix, sequence length. Noise that grows alone precedes divergence.",
    )


def _places(incidents: Sequence[Incident]) -> list[Place]:
    return [
        Place(
            signal=one.signals[0],
            first_step=one.onset_step,
            last_step=one.end_step or max(one.detected_step, one.onset_step),
            note=one.kind.value,
        )
        for one in incidents[:_SHOWN]
    ]
