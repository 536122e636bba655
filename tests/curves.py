"""Synthetic training curves with known truth, shared by the tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pretrain_monitor import Event, Incident, InstabilityDetector, Sample


def healthy_run(n: int, *, seed: int, noise: float = 0.02, autocorrelation: float = 0.2) -> dict[str, np.ndarray]:
    """A power-law loss and a gradient norm with AR(1) noise, and a warm-up and cosine learning rate."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    loss = (2.2 + 6 * (t + 20.0) ** -0.45) * np.exp(noise * ar1(rng, n, autocorrelation))
    grad_norm = (0.4 + 3 * (t + 5.0) ** -0.6) * np.exp(6 * noise * ar1(rng, n, autocorrelation))
    learning_rate = 3e-4 * np.minimum((t + 1) / 100, 0.55 + 0.45 * np.cos(np.pi * t / n))
    return {"loss": loss, "grad_norm": grad_norm, "learning_rate": learning_rate}


def ar1(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    """Unit-variance AR(1) noise."""
    shocks = rng.standard_normal(n) * np.sqrt(1 - phi**2)
    out = np.empty(n)
    value = rng.standard_normal()
    for i, shock in enumerate(shocks):
        value = phi * value + shock
        out[i] = value
    return out


def samples(run: Mapping[str, np.ndarray], *, first_step: int = 1) -> Iterator[Sample]:
    names = list(run)
    for i, row in enumerate(zip(*(run[name].tolist() for name in names), strict=True)):
        yield Sample(first_step + i, dict(zip(names, row, strict=True)))


def detect(stream: Iterable[Sample], config: Mapping[str, object] | None = None) -> tuple[list[Event], list[Incident]]:
    """All events and the final incidents of a stream."""
    detector = InstabilityDetector(config)
    events = [event for sample in stream for event in detector.update(sample)]
    events += detector.finish()
    return events, detector.incidents


def alerts(incidents: Iterable[Incident]) -> list[Incident]:
    return [incident for incident in incidents if incident.is_alert]
