"""A small picture of the curves around an incident, drawn in a process of its own: drawing takes the interpreter for
half a second, which the training would have to wait for.

    python -m pretrain_monitor.sinks.picture < curves.json > picture.png
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from ..printable import shorten
from ..telemetry import Incident, Sample, spell_nonfinite

_TIMEOUT_S = 30.0
_WIDTH, _HEIGHT, _DPI = 6.4, 3.4, 100  # inches, dots to the inch
_MIN_SHOWN = 120  # steps


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def picture_of(samples: Sequence[Sample], incident: Incident) -> bytes | None:
    """PNG, or None if there is nothing to draw or it cannot be drawn.

    Args:
        samples: the newest, oldest first, with what was expected beside what came.
    """
    curves = curves_of(samples, incident)
    if curves is None:
        return None
    command = [sys.executable, "-m", "pretrain_monitor.sinks.picture"]
    given = json.dumps(spell_nonfinite(curves)).encode()
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    is_picture = done.returncode == 0 and done.stdout.startswith(b"\x89PNG")
    return done.stdout if is_picture else None


def curves_of(samples: Sequence[Sample], incident: Incident) -> dict[str, Any] | None:
    """What is drawn: the leading signal and, beside it, gradient norm or loss, from a while before the onset."""
    leading = incident.signals[0]
    other = "grad_norm" if leading == "loss" else "loss"
    steps = max(_MIN_SHOWN, 4 * (incident.detected_step - incident.onset_step))
    shown = [s for s in samples if s.step >= incident.onset_step - steps and leading in s.metrics]
    if len(shown) < 2:
        return None
    panels = []
    for name in dict.fromkeys((leading, other)):
        of_signal = [s for s in shown if name in s.metrics]
        if of_signal:
            panel: dict[str, Any] = {"name": shorten(name, 40), "steps": [s.step for s in of_signal]}
            panel["values"] = [s.metrics[name] for s in of_signal]
            for part in ("lower", "upper"):
                panel[part] = [s.metrics.get(f"{name}/{part}", math.nan) for s in of_signal]
            panels.append(panel)
    return {"panels": panels, "onset": incident.onset_step, "title": shorten(incident.message, 90)}


def draw(curves: dict[str, Any]) -> bytes:
    """The PNG of ``curves_of``."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..explain.drawing import Role
    from ..explain.looks import BAND_COLOUR, COLOURS, INK, PAPER

    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(curves["title"], fontsize=8.5, color=INK, parse_math=False)
    panels = curves["panels"]
    for axes, panel in zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True):
        values, lower, upper = ([float(value) for value in panel[key]] for key in ("values", "lower", "upper"))
        axes.fill_between(panel["steps"], lower, upper, color=BAND_COLOUR, linewidth=0)
        axes.plot(panel["steps"], values, color=INK, linewidth=1.0)
        gone = [step for step, value in zip(panel["steps"], values, strict=True) if not math.isfinite(value)]
        for step in gone[:1]:
            axes.axvline(step, color=COLOURS[Role.NONFINITE], linewidth=1.0, linestyle=":")
        axes.axvline(curves["onset"], color=COLOURS[Role.ONSET], linewidth=0.8)
        axes.set_ylabel(panel["name"], fontsize=8, color=INK, parse_math=False)
        axes.tick_params(labelsize=7, colors=INK)
    axes.set_xlabel("step", fontsize=8, color=INK)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


if __name__ == "__main__":
    sys.stdout.buffer.write(draw(json.load(sys.stdin)))
