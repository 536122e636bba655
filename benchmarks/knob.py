"""Does the knob mean what it says? Alerts per 10,000 steps on healthy runs, against what was asked for.

Synthetic runs of loss, gradient norm and learning rate without any event; the noise differs in tail and memory.

    python benchmarks/knob.py [--steps N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from pretrain_monitor import InstabilityDetector, Sample

ASKED = (0.3, 1.0, 3.0, 10.0)
RUN_STEPS = 20_000
Noise = Callable[[np.random.Generator, int], np.ndarray]


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    shocks = rng.standard_normal(n) * np.sqrt(1 - phi**2)
    out = np.empty(n)
    value = 0.0
    for i, shock in enumerate(shocks.tolist()):
        value = phi * value + shock
        out[i] = value
    return out


NOISES: dict[str, Noise] = {
    "Gaussian": lambda rng, n: rng.standard_normal(n),
    "AR(1), .4": lambda rng, n: autoregressive(rng, n, 0.4),
    "Student t, 4 d.o.f.": lambda rng, n: rng.standard_t(4, size=n) / 2**0.5,
    "skewed (exponential)": lambda rng, n: rng.exponential(size=n) - 1,
}


def counts(noise: Noise, asked: float, steps: int) -> tuple[int, int]:
    """Alerts and incidents for information."""
    alerts = infos = 0
    for seed in range(max(steps // RUN_STEPS, 1)):
        rng = np.random.default_rng(seed)
        t = np.arange(RUN_STEPS)
        loss = (2.2 + 6 * (t + 20.0) ** -0.45) * np.exp(0.02 * noise(rng, RUN_STEPS))
        norm = (0.4 + 3 * (t + 5.0) ** -0.6) * np.exp(0.12 * noise(rng, RUN_STEPS))
        rate = 3e-4 * np.minimum((t + 1) / 500, 0.55 + 0.45 * np.cos(np.pi * t / RUN_STEPS))
        detector = InstabilityDetector({"false_alarms_per_10k_steps": asked})
        for step, (a, b, c) in enumerate(zip(loss.tolist(), norm.tolist(), rate.tolist(), strict=True), start=1):
            detector.update(Sample(step, {"loss": a, "grad_norm": b, "learning_rate": c}))
        found = detector.incidents
        alerts += sum(incident.is_alert for incident in found)
        infos += sum(not incident.is_alert for incident in found)
    return alerts, infos


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="healthy steps per cell of the table")
    steps = parser.parse_args(argv).steps
    print(f"alerts (and incidents for information) per 10,000 healthy steps, from {steps:,} steps each")
    print(f"{'noise':22s}" + "".join(f"asked {asked:<10g}" for asked in ASKED))
    for name, noise in NOISES.items():
        cells = []
        for asked in ASKED:
            alerts, infos = counts(noise, asked, steps)
            cells.append(f"{alerts / steps * 1e4:.2f} ({infos / steps * 1e4:.2f})".ljust(16))
        print(f"{name:22s}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
