"""Was the learning rate what it should have been?"""

from __future__ import annotations

import math

import numpy as np

from ..telemetry import Kind
from ..viewing.series import Floats
from .fits import noise, trimmed
from .found import finding
from .material import Material, Signal
from .model import Finding, Place, Table
from .rate_rises import Rise, rises, warm_up_end
from .words import counted, number, percent

_NO_RATE = "the learning rate of single steps"
_EARLY = 0.1  # of the run, in which trouble is that of the beginning
_MOST_EARLY_ROWS = 5000
_SETTLED = 4.0  # times the norm that comes next: gradients that have not settled
_HIGH_RATE = 0.5  # of the peak: below it a large gradient does little
_LOSS_RISE = 0.05  # of the loss, over its best so far
_SMOOTH = 5  # rows
_PEAK = 0.95  # quantile
_LAST = 0.02  # of the run, whose rate is the final one
_FEWEST_ROWS = 200
_EXCUSED_STEPS = 2


def findings(material: Material) -> list[Finding]:
    found = _unannounced(material, rises(material.rate, material.resumed_at))
    return [
        _warm_up(material),
        _rises(material, [one for one in found if not one.is_restart], is_restart=False),
        _rises(material, [one for one in found if one.is_restart], is_restart=True),
        _decay(material),
        _rate_and_noise(material),
    ]


def _unannounced(material: Material, found: list[Rise]) -> list[Rise]:
    said = [one.step for one in material.content.announcements if one.what in ("learning_rate", "data_stage")]
    return [one for one in found if not any(abs(step - one.step) <= _EXCUSED_STEPS for step in said)]


def _warm_up(material: Material) -> Finding:
    """Length of the warm-up over the steps until the trouble of the beginning was over."""
    rate = material.rate
    is_known = len(rate) > 2 and len(material.loss) > _FEWEST_ROWS and material.first_step <= 100
    if not is_known:
        missing = _NO_RATE if len(rate) <= 2 else "the first steps of the run"
        return finding("schedule/warmup", "Warm-up", None, missing=missing)
    length = int(rate.steps[warm_up_end(rate)]) - material.first_step
    trouble, what = _early_trouble(material, rate)
    is_long_enough = length >= trouble
    value = 1.0 if is_long_enough else max(length, 0) / trouble
    start = float(rate.values[0] / max(rate.values[: warm_up_end(rate) + 1].max(), 1e-300))
    words = f"warm-up over {counted(length, 'step')}" if length > 0 else "no warm-up"
    if not trouble:
        summary = f"{words}, and nothing in the first steps says that it was too short"
    else:
        summary = f"{words}; {what} until step {material.first_step + trouble:,}"
    return finding(
        "schedule/warmup",
        "Warm-up",
        value,
        unit="of what was needed",
        bound="at_least",
        summary=summary,
        evidence=[f"the rate began at {percent(start)} of its peak"],
        places=[Place(signal="grad_norm", first_step=material.first_step, last_step=material.first_step + trouble)]
        if trouble
        else [],
        advice="Begin again with a warm-up of a hundred steps or more, or a lower rate: what the first steps do to the "
        "second moments of Adam stays for thousands.",
    )


def _early_trouble(material: Material, rate: Signal) -> tuple[int, str]:
    """Steps from the beginning until gradients had settled and the loss was back at its best; what there was."""
    last = material.first_step + max(_EARLY * (material.last_step - material.first_step), 100)
    trouble, words = 0, ""
    norm = material.grad_norm.part(0, last)
    norm = Signal("grad_norm", norm.steps[:_MOST_EARLY_ROWS], norm.values[:_MOST_EARLY_ROWS])
    if len(norm) >= 10 * _SMOOTH:
        smooth = _medians(norm.values)
        settled = float(np.median(smooth[len(smooth) // 2 :]))
        peak = float(np.nanmax(rate.part(0, last).values, initial=0.0))
        is_high = rate.at(norm.steps) >= _HIGH_RATE * peak
        wild = np.flatnonzero((smooth > _SETTLED * settled) & is_high)
        if len(wild):
            trouble = int(norm.steps[wild[-1]]) - material.first_step + 1
            times = smooth[wild].max() / settled
            words = f"at more than half of the peak rate gradients of {times:.0f} times the later norm"
    loss = material.loss.part(0, last)
    loss = Signal("loss", loss.steps[:_MOST_EARLY_ROWS], loss.values[:_MOST_EARLY_ROWS])
    if len(loss) >= 10 * _SMOOTH:
        smooth = _medians(loss.values)
        best = np.minimum.accumulate(smooth)
        height = smooth - best
        limit = np.maximum(_LOSS_RISE * best, 6 * noise(loss.values[len(loss) // 2 :]))
        above = np.flatnonzero(height > limit)
        if len(above):
            until = int(loss.steps[above[-1]]) - material.first_step + 1
            if until > trouble:
                trouble = until
                rise = float((height / best).max())
                words = f"the loss was up to {percent(rise)} above its best"
    return trouble, words


def _medians(values: Floats) -> Floats:
    """Of five rows around each."""
    padded = np.pad(values, _SMOOTH // 2, mode="edge")
    found: Floats = np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTH), axis=1)
    return found


def _rises(material: Material, found: list[Rise], *, is_restart: bool) -> Finding:
    check, title = (
        ("schedule/restarts", "Restarts of the schedule")
        if is_restart
        else ("schedule/jumps", "Jumps of the learning rate")
    )
    if len(material.rate) < 3:
        return finding(check, title, None, missing=_NO_RATE)
    told = [one for one in material.incidents if one.kind is Kind.LR_ANOMALY and _is_restart(one) == is_restart]
    steps = {one.step for one in found}
    more = [one for one in told if not any(abs(one.onset_step - step) <= 60 for step in steps)]
    rows = [[f"{one.step:,}", f"{one.before:.3g}", f"{one.after:.3g}"] for one in found[:20]]
    count = len(found) + len(more)
    if found:
        worst = max(found, key=lambda one: one.after / max(one.before, 1e-300))
        verb = "began again" if is_restart else "jumped"
        summary = (
            f"the rate {verb} {counted(count, 'time')}, at step {worst.step:,} from {worst.before:.3g} "
            f"to {worst.after:.3g}"
        )
    elif more:
        summary = more[0].message
    else:
        summary = "the schedule never began again" if is_restart else "no jump upwards after the warm-up"
    return finding(
        check,
        title,
        float(count),
        summary=summary,
        table=Table(titles=["step", "before", "after"], rows=rows, marked=list(range(len(rows)))) if rows else None,
        places=[Place(signal="learning_rate", first_step=one.step, last_step=one.step) for one in found[:20]],
        advice="Restore the scheduler together with the optimizer; compare held-out loss before and after."
        if is_restart
        else "Find what set the rate there; if the loss rose with it, go back to before.",
    )


def _is_restart(incident: object) -> bool:
    evidence = getattr(incident, "evidence", {}).get("learning_rate")
    return isinstance(evidence, dict) and evidence.get("what") == "restart"


def _decay(material: Material) -> Finding:
    rate = material.rate
    if len(rate) < 3 or rate.values.max() <= 0:
        missing = _NO_RATE if len(rate) < 3 else "a learning rate that was ever above 0"
        return finding("schedule/decay", "Decay of the learning rate", None, missing=missing)
    last = rate.values[-max(1, int(_LAST * len(rate))) :]
    # A burst of a few steps is no peak.
    peak = float(np.quantile(rate.values, _PEAK)) or float(rate.values.max())
    share = float(np.median(last)) / peak
    since = int(rate.steps[np.flatnonzero(rate.values >= 0.99 * peak)[-1]])
    return finding(
        "schedule/decay",
        "Decay of the learning rate",
        100.0 * share,
        unit="%",
        summary=f"the rate ended at {percent(share)} of its peak of {peak:.3g}, which it left at step {since:,}",
        places=[Place(signal="learning_rate", first_step=since, last_step=material.last_step)],
        advice="Let it decay before the model is used: without it the last percent of the loss is missing. To train "
        "on, keep this checkpoint.",
    )


def _rate_and_noise(material: Material) -> Finding:
    """Noise of the loss at high rates over that at low ones: what the rate itself shakes."""
    loss, rate = material.loss, material.rate
    missing = _NO_RATE
    ratio = math.nan
    if len(loss) > _FEWEST_ROWS and len(rate) > _FEWEST_ROWS:
        start = int(rate.steps[warm_up_end(rate)])
        late = loss.part(max(start, material.first_step + 0.1 * (material.last_step - material.first_step)), math.inf)
        at = rate.at(late.steps)
        peak = float(np.nanmax(at)) if len(late) else 0.0
        high, low = late.values[at >= 0.67 * peak], late.values[at <= 0.33 * peak]
        missing = "stretches at high and at low rates"
        if min(len(high), len(low)) >= _FEWEST_ROWS // 2 and noise(low) > 0:
            # Against the level: a loss that is half as high is half as noisy by itself.
            ratio = (noise(high) / trimmed(high)) / (noise(low) / trimmed(low))
    is_known = math.isfinite(ratio)
    return finding(
        "schedule/rate_noise",
        "Learning rate against noise",
        ratio if is_known else None,
        unit="times",
        missing="" if is_known else missing,
        summary=f"at high learning rates the loss is {number(ratio)} times as noisy for its level as at low ones"
        if is_known
        else "",
        advice="Much noise that goes with the rate says that the peak was near the edge.",
    )
