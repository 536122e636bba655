"""How much of the run is there to be judged by?"""

from __future__ import annotations

import numpy as np

from ..converting import CONVERTED
from .found import finding
from .material import Material
from .model import Finding, Table
from .words import percent

_FROZEN_ROWS, _FROZEN_SHARE = 100, 0.02  # in a row; of the run
_NEEDED = ("loss", "grad_norm", "learning_rate")


def findings(material: Material) -> list[Finding]:
    return [_telemetry(material), _ended(material)]


def _telemetry(material: Material) -> Finding:
    """Share of the steps that were logged, of the signal of which the fewest were."""
    total = material.last_step - material.first_step + 1
    logged = {name: len(material.content.series.get(name, ())) for name in _NEEDED}
    shares = {name: min(count / max(total, 1), 1.0) for name, count in logged.items()}
    worst = min(shares, key=shares.__getitem__)
    if not any(logged.values()):
        return finding("evidence/telemetry", "Steps that were logged", None, missing="a log of the training")
    rows = [[name, f"{logged[name]:,}", percent(shares[name])] for name in _NEEDED]
    absent = [name for name in _NEEDED if not logged[name]]
    summary = (
        f"{' and '.join(absent)} never logged"
        if absent
        else f"{worst} was logged at {percent(shares[worst])} of {total:,} steps"
    )
    frozen = _frozen(material)
    if frozen is not None:
        shares[worst], summary = 0.0, frozen
    return finding(
        "evidence/telemetry",
        "Steps that were logged",
        100.0 * shares[worst],
        unit="%",
        bound="at_least",
        summary=summary,
        evidence=list(material.facts.notes),
        table=Table(titles=["signal", "samples", "of the steps"], rows=rows, marked=[_NEEDED.index(n) for n in absent]),
        advice="Attach the monitor, or log every step: what lies between two logged steps cannot be judged.",
    )


def _frozen(material: Material) -> str | None:
    """What there is to say of a loss that stands still: that is no training, or no log of one."""
    loss = material.loss
    if len(loss) < _FROZEN_ROWS:
        return None
    changes = np.flatnonzero(np.diff(loss.values))
    edges = np.concatenate([[-1], changes, [len(loss) - 1]])
    longest = int(np.argmax(np.diff(edges)))
    rows = int(edges[longest + 1] - edges[longest])
    if rows < max(_FROZEN_ROWS, _FROZEN_SHARE * len(loss)):
        return None
    first = int(edges[longest]) + 1
    return (
        f"the loss is exactly {loss.values[first]:.6g} for {rows:,} samples in a row from step {loss.steps[first]:,} on"
    )


def _ended(material: Material) -> Finding:
    """Whether the run came to the end that it was meant to have."""
    end = material.content.end
    if not material.is_watched:
        return finding(
            "evidence/ended", "End of the run", None, missing="a run log: other logs do not say how a run ended"
        )
    if end is None:
        is_running = material.is_held is True
        words = "the run is still going on" if is_running else "the run ended without a word, as when it is killed"
        return finding("evidence/ended", "End of the run", 0.0, bound="at_least", summary=words, advice=_TO_DO)
    if end.reason.startswith(CONVERTED):
        missing = f"to know how the run ended, which was {end.reason}"
        return finding("evidence/ended", "End of the run", None, missing=missing)
    is_well = end.reason in ("", "finished")
    summary = f"finished at step {end.step:,}" if is_well else f"ended at step {end.step:,}: {end.reason}"
    return finding("evidence/ended", "End of the run", float(is_well), bound="at_least", summary=summary, advice=_TO_DO)


_TO_DO = "Resume it, or judge the checkpoint that is meant to be used by its own probes."
