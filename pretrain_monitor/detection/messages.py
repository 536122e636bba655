"""Incidents in plain words with numbers. Pure functions of an incident."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..naming import SIGNAL_NAMES
from ..telemetry import Incident, Kind, Status

_ADVICE = {
    Kind.NONFINITE: "Stop: weights updated with a non-finite gradient cannot be used. Go back to the last checkpoint "
    "before the onset and look at the batch of that step.",
    Kind.DIVERGENCE: "Stop and go back to a checkpoint before the onset. Lower the learning rate, lengthen warm-up or "
    "tighten clipping; skip the batches around the onset if it happens there again.",
    Kind.SPIKE: "Keep a checkpoint from before the onset. If it came back by itself, look at the batches of these "
    "steps; if spikes repeat, lower the learning rate or Adam's beta2.",
    Kind.LEVEL_SHIFT: "Ask what changed at the onset: data stage, sequence length, batch size, a restart. If nothing "
    "did, compare held-out loss before and after and go back to a checkpoint before the onset.",
    Kind.DRIFT: "The loss has been rising slowly. Compare held-out loss with the last checkpoint before the onset and "
    "check the data mix and the learning rate.",
    Kind.PLATEAU: "Check whether the learning rate has become too small or too large, whether data repeat, and whether "
    "gradients still reach all layers. A model that has learned what its data hold also rests here.",
    Kind.GRAD_SPIKE: "No effect on the loss so far. Clipping took care of it if it is on.",
    Kind.BAD_BATCH: "One batch out of line, by itself no reason to act. Look at its data if it happens often.",
    Kind.NOISE_CHANGE: "The loss is noisier at the same level: check batch size, data mix and gradient accumulation.",
    Kind.LR_ANOMALY: "Check the scheduler: after a resume it must be restored together with the optimizer.",
    Kind.RETENTION_LOSS: "Ask what changed in the data since the onset: what is no longer in the mix is forgotten. Put "
    "a few percent of it back, lower the learning rate, or go back to the checkpoint of the best round. If all domains "
    "got worse together, it is the training itself: look at the loss and the learning rate there.",
    Kind.PROBE_FAILURE: "The training is not touched by it. Mend what the message names; the probe is tried again when "
    "the run is started or resumed.",
}

_BACK = {
    Kind.NONFINITE: "finite again",
    Kind.NOISE_CHANGE: "as quiet as before",
    Kind.PLATEAU: "falling again",
    Kind.RETENTION_LOSS: "learned again",
}

_STILL = {Kind.NOISE_CHANGE: "still as noisy", Kind.PLATEAU: "still flat", Kind.PROBE_FAILURE: "it is switched off"}

_UNITS = {
    "bits_per_byte": "bits per byte",
    "gold_bits_per_byte": "bits per byte of the right answers",
    "loss": "nats per token",
}
_NAMED_DOMAINS = 3


def describe(incident: Incident) -> str:
    """One sentence: what rose from where to where, when, with what else, and how it ended."""
    if incident.kind is Kind.NONFINITE:
        head = _nonfinite(incident)
    elif incident.kind is Kind.LR_ANOMALY:
        head = _learning_rate(incident.evidence["learning_rate"], incident.onset_step)
    elif incident.kind is Kind.PLATEAU:
        head = _plateau(incident)
    elif incident.kind is Kind.RETENTION_LOSS:
        head = _retention(incident.evidence)
    elif incident.kind is Kind.PROBE_FAILURE:
        return _probe_failure(incident)
    else:
        head = _rise(incident)
    return f"{head}; {_outcome(incident)}"


def advise(kind: Kind, evidence: Mapping[str, Any] | None = None) -> str:
    if kind is Kind.NONFINITE and (evidence or {}).get("updates_left_out"):
        return "The updates were left out, so the weights have not seen it. Look at the batches of these steps."
    return _ADVICE.get(kind, "")


def number(value: float, digits: int = 4) -> str:
    """A value as a person would write it: 3.214, 12.3, 4.0e-05.

    >>> number(3.2143), number(12345.6), number(4e-5)
    ('3.214', '12,346', '4.0e-05')
    """
    if not math.isfinite(value):
        return str(value).replace("inf", "infinite")
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.{max(digits - 3, 1)}e}"
    return f"{value:,.{max(digits - 4, 0)}f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def two_numbers(before: float, after: float) -> tuple[str, str]:
    """Two values with as many digits as it takes to tell them apart.

    >>> two_numbers(2.50001, 2.50012)
    ('2.50001', '2.50012')
    """
    for digits in range(4, 10):
        texts = number(before, digits), number(after, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _rise(incident: Incident) -> str:
    signal = incident.signals[0]
    name, when = SIGNAL_NAMES.get(signal, signal), f"at step {incident.onset_step:,}"
    if incident.expected is None or incident.peak is None:
        return f"{name} changed {when}"
    expected, peak = two_numbers(incident.expected, incident.peak)
    if incident.peak <= incident.expected:
        return f"{name} became noisier {when}, around {expected}"
    if incident.kind is Kind.NOISE_CHANGE:
        text = f"{name} became noisier {when}, up to {peak} where {expected} was expected{_size(incident)}"
    else:
        text = f"{name} rose from {expected} to {peak}{_size(incident)} {when}"
        if incident.peak_step > incident.onset_step + 2:
            text += f" (peak at {incident.peak_step:,})"
    ratio = incident.evidence.get("grad_norm_ratio")
    if signal == "loss" and ratio is not None and float(ratio) >= 2:
        text += f", together with the gradient norm (x{float(ratio):.3g})"
    rate = incident.evidence.get("learning_rate")
    if rate is not None:
        text += f", after {_learning_rate(rate, rate['step'])}"
    return text + "".join(_change(change) for change in incident.evidence.get("changes", ()))


def _change(change: Mapping[str, Any]) -> str:
    declared = "" if change["is_declared"] else ", which nobody announced"
    return f", with a change of the run at step {change['step']:,}: {change['text']}{declared}"


def _size(incident: Incident) -> str:
    parts = []
    if incident.relative_increase is not None:
        increase = incident.relative_increase
        parts.append(f"x{1 + increase:.3g}" if increase > 2 else f"{increase:+.0%}".replace("%", " %"))
    if incident.score is not None and incident.score >= 1:
        parts.append(f"{min(incident.score, 9999):,.0f} sd")
    return f" ({', '.join(parts)})" if parts else ""


def _nonfinite(incident: Incident) -> str:
    if incident.evidence.get("what") == "loss_scale":
        return f"the loss scaler keeps backing off: gradients overflow time and again from step {incident.onset_step:,}"
    first = incident.evidence["first_nonfinite"]
    name = SIGNAL_NAMES.get(first["signal"], first["signal"])
    value = "NaN" if math.isnan(float(first["value"])) else "infinite"
    text = f"{name} became {value} at step {first['step']:,}"
    if incident.expected is not None and first["signal"] == incident.signals[0]:
        text += f" (expected {number(incident.expected)})"
    rate = incident.evidence.get("learning_rate")
    if rate is not None and first["signal"] != "learning_rate":
        text += f", after {_learning_rate(rate, rate['step'])}"
    return text


def _plateau(incident: Incident) -> str:
    text = f"loss has stopped falling at step {incident.onset_step:,}"
    if incident.peak is None or incident.expected is None:
        return text
    level, expected = two_numbers(incident.peak, incident.expected)
    return f"{text}: it stays at {level} where its fall before led to {expected}{_size(incident)}"


def _retention(evidence: Mapping[str, Any]) -> str:
    """What the worst domain lost, how sure that is, and which others went with it."""
    (worst, facts), *others = evidence["domains"].items()
    before, after = two_numbers(facts["best"], facts["worst"])
    unit = _UNITS.get(facts["metric"].rpartition("/")[2], "")
    text = (
        f"{worst} got worse from {before} {unit} at step {facts['best_step']:,} to {after} at {facts['worst_step']:,}"
    )
    text += f" ({_percent(facts['relative'])}"
    if facts["lower"] is not None:
        # Of a text that was known by heart there is no share.
        is_share = facts["best"] > 0
        low, high = (_percent(facts[s] / facts["best"]) if is_share else f"{facts[s]:+.3g}" for s in ("lower", "upper"))
        text += f", 95 % interval {low} to {high}"
    text += ")"
    if others:
        named = [f"{name} ({_percent(other['relative'])})" for name, other in others[:_NAMED_DOMAINS]]
        more = len(others) - len(named)
        text += f", with it {', '.join(named)}" + (f" and {more} more" if more else "")
    measured = evidence["domains_measured"]
    if 1 < measured <= len(others) + 1:
        text += f": all {measured} domains that were measured"
    return text + "".join(_change(change) for change in evidence.get("changes", ()))


def _percent(share: float) -> str:
    """
    >>> _percent(0.1234), _percent(0.0321), _percent(3.5)
    ('+12 %', '+3.2 %', 'x4.5')
    """
    if share > 2:
        return f"x{1 + share:.3g}"
    return f"{100 * share:+.{0 if abs(share) >= 0.1 else 1}f} %"


def _probe_failure(incident: Incident) -> str:
    facts = incident.evidence
    times = f" and {facts['failures'] - 1:,} times since" if facts["failures"] > 1 else ""
    text = f"probe {facts['probe']} failed at step {incident.onset_step:,}{times}: {facts['problem']}"
    return f"{text}; {_STILL[incident.kind]}" if incident.status is Status.PERSISTENT else text


def _learning_rate(change: Mapping[str, Any], step: int) -> str:
    after = number(float(change["after"]))
    if change["what"] == "zero":
        return f"the learning rate has been zero for a long time at step {step:,}"
    if change["what"] == "negative":
        return f"the learning rate is negative ({after}) at step {step:,}"
    before, after = two_numbers(float(change["before"]), float(change["after"]))
    if change["what"] == "restart":
        return f"the learning-rate schedule started again at step {step:,} instead of going on: {before} became {after}"
    return f"the learning rate jumped from {before} to {after} at step {step:,}"


def _outcome(incident: Incident) -> str:
    if incident.kind is Kind.LR_ANOMALY:
        return _rate_outcome(incident.status)
    if incident.status is Status.OPEN:
        return "still going on"
    if incident.status is Status.ENDED_RUN:
        return "not over when the run ended"
    if incident.status is Status.PERSISTENT:
        since = f"after {incident.evidence['duration_steps']:,} steps"
        return f"{_STILL.get(incident.kind, 'it has not come back')} {since}"
    steps = incident.evidence.get("steps_to_recovery")
    where = _BACK.get(incident.kind, "back to trend")
    if steps is None:
        return where
    return f"{where} after {steps:,} step{'' if steps == 1 else 's'}"


def _rate_outcome(status: Status) -> str:
    effect = "no effect on the loss so far"
    if status is Status.RECOVERED:
        return f"it came back, {effect}"
    return effect if status is Status.OPEN else f"it has stayed there, {effect}"
