"""Is the model still learning at the end, as fast as its own course lets expect?"""

from __future__ import annotations

import math

import numpy as np

from ..viewing.series import Floats
from .fits import Blocks, blocks, fit_power_law, slope
from .found import finding
from .material import Material
from .model import Finding, Place, Table
from .segments import segments_of
from .words import number, percent, steps_of

_LEFT_OUT = 0.03  # of the run at its beginning: warm-up follows no power law
_CUTS = (0.35, 0.5, 0.65, 0.8)  # of the run, up to which the law is fitted
_CLEAR = 6.0  # standard errors that the predicted fall has to have: else nobody can say whether it came
_SMALLEST = 0.003  # of the loss: a law that predicts less than that has nothing left to be missed
_FEWEST_ROWS = 150


def settled_blocks(material: Material) -> Blocks:
    """Of the loss, without the beginning of the run."""
    parts = blocks(material.loss)
    use = parts.steps >= material.first_step + _LEFT_OUT * (material.last_step - material.first_step)
    return Blocks(parts.steps[use], parts.values[use], parts.errors[use])


def learning(material: Material) -> Finding:
    """Of the fall that the power law of the run so far predicts for the rest of it, how much came; the least of
    several places from which it is predicted."""
    loss = material.loss
    settled = settled_blocks(material)
    steps, values = settled.steps, settled.values
    shares: list[tuple[float, float, int]] = []  # share that came, predicted fall, number of the block
    if len(loss) >= _FEWEST_ROWS:
        error = float(settled.errors.mean()) if len(settled) else math.inf
        for cut in _CUTS:
            at = int(cut * len(steps))
            law = fit_power_law(steps[:at], values[:at])
            if law is None:
                continue
            # The median of the last stretches: a spike that heals before the end is not where the run ended.
            predicted = float(law.at(steps[at - 1 : at])[0] - law.at(steps[-3:-2])[0])
            level_then, level_now = float(law.at(steps[at - 1 : at])[0]), float(np.median(values[-5:]))
            if predicted > max(_CLEAR * error, _SMALLEST * level_then):
                shares.append(((level_then - level_now) / predicted, predicted, at))
    worst = min(shares, default=None)
    falls = _end_slope(steps, values)
    flat = [one for one in material.incidents if one.kind.value == "plateau"]
    evidence = [f"at the end the loss falls by {number(-falls)} nats for each doubling of the steps"] if falls else []
    evidence += [f"the detector told a plateau from step {one.onset_step:,}" for one in flat]
    return finding(
        "stability/still_learning",
        "Still learning",
        value=None if worst is None else 100.0 * worst[0],
        unit="%",
        bound="at_least",
        missing=""
        if worst is not None
        else "a run long and quiet enough for its power law to predict a fall that could be missed",
        summary=""
        if worst is None
        else f"from step {int(steps[worst[2] - 1]):,} on the loss {'fell' if worst[0] >= 0 else 'rose'} by "
        f"{percent(abs(worst[0]))} of the {number(worst[1])} nats that its power law until then lets it fall",
        evidence=evidence,
        table=_phases(material, evidence),
        places=[]
        if worst is None
        else [Place(signal="loss", first_step=int(steps[worst[2] - 1]), last_step=material.last_step)],
        advice="Look at where it stopped: learning rate too small or too large, data that repeat, a domain used up.",
    )


def _phases(material: Material, evidence: list[str]) -> Table | None:
    """The stretches in which the run kept its distance to its power law."""
    loss = material.loss
    try:
        found = segments_of(loss.steps, loss.values)
    except ImportError as problem:
        evidence.append(f"its phases are not told: {problem}")
        return None
    if len(found) < 2:
        return None
    rows = [
        [steps_of(one.first_step, one.last_step), number(one.level), f"{one.slope:+.3g}", f"{one.against_trend:+.1%}"]
        for one in found
    ]
    return Table(titles=["phase, steps", "loss", "nats per 1,000 steps", "against the power law"], rows=rows)


def _end_slope(steps: Floats, values: Floats) -> float | None:
    """Of the last third, in nats for each doubling of the steps."""
    last = steps >= steps[-1] * 0.67 if len(steps) else np.empty(0, dtype=bool)
    if last.sum() < 4:
        return None
    return slope(np.log2(np.maximum(steps[last], 1.0)), values[last])
