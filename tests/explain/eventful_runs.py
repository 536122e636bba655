"""Runs with one thing wrong in each, at a known step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from curves import healthy_run, samples

from pretrain_monitor import MonitorConfig, Sample
from pretrain_monitor.explain.scene import explain
from pretrain_monitor.explain.story import Explanation
from pretrain_monitor.explain.survey import survey

CONFIG = MonitorConfig()


def explained(stream: Sequence[Sample], kind: str, config: MonitorConfig = CONFIG) -> Explanation:
    """The first incident of a kind, or of one of several as in "drift or level_shift", explained."""
    found = survey(stream, config)
    incident = next(incident for incident in found.incidents if incident.kind in kind.split(" or "))
    return explain(stream, incident, found, config)


@cache
def explanation_of(run: str) -> Explanation:
    """What is wrong with one of the runs below."""
    make, kind = RUNS[run]
    return explained(make(), kind)


def level_shift() -> list[Sample]:
    run = healthy_run(1200, seed=1)
    run["loss"][800:] *= 1.08
    return list(samples(run))


def spike() -> list[Sample]:
    run = healthy_run(900, seed=2)
    run["loss"][600:620] *= 1 + 0.6 * np.exp(-np.arange(20) / 6)
    run["grad_norm"][598:610] *= 5
    return list(samples(run))


def bad_batch() -> list[Sample]:
    run = healthy_run(900, seed=3)
    run["loss"][600] *= 1.4
    return list(samples(run))


def grad_spike() -> list[Sample]:
    run = healthy_run(900, seed=4)
    run["grad_norm"][600] *= 12
    return list(samples(run))


def divergence() -> list[Sample]:
    run = healthy_run(1000, seed=5)
    run["loss"][700:] *= 1 + 0.01 * np.arange(300)
    run["grad_norm"][700:] *= 1 + 0.1 * np.arange(300)
    return list(samples(run))


def drift() -> list[Sample]:
    run = healthy_run(4000, seed=7)
    run["loss"][2500:] *= np.exp(0.02 * 2.5 * np.minimum(np.arange(1500) / 600, 1))
    return list(samples(run))


def noise_change() -> list[Sample]:
    run = healthy_run(1200, seed=7)
    wider = np.random.default_rng(7).standard_normal(400)
    run["loss"][700:1100] *= np.exp(0.06 * wider)
    return list(samples(run))


def nonfinite() -> list[Sample]:
    run = healthy_run(900, seed=8)
    run["loss"][600] = np.nan
    run["grad_norm"][600] = np.inf
    return list(samples(run))


def dead() -> list[Sample]:
    run = healthy_run(4000, seed=8)
    run["loss"][600:] = np.nan
    return list(samples(run))


def lr_anomaly() -> list[Sample]:
    run = healthy_run(900, seed=9)
    run["learning_rate"][600:] *= 10
    return list(samples(run))


def plateau() -> list[Sample]:
    run = healthy_run(3000, seed=10, noise=0.01)
    run["loss"][1000:] *= run["loss"][1000] / (2.2 + 6 * (np.arange(1000, 3000) + 20.0) ** -0.45)
    run["loss"][1000:] *= np.exp(-np.log(run["loss"][1000]) + np.log(2.45))
    return list(samples(run))


def early() -> list[Sample]:
    run = healthy_run(300, seed=11)
    run["loss"][80:110] *= 1.9
    return list(samples(run))


def nan_from_the_start() -> list[Sample]:
    return [Sample(step, {"loss": float("nan")}) for step in range(1, 50)]


def second_event() -> list[Sample]:
    run = healthy_run(1200, seed=12)
    run["loss"][600:] *= 1.1
    run["loss"][640:646] *= 1.25
    return list(samples(run))


def announced() -> list[Sample]:
    stream = level_shift()
    said = {"announced": [{"text": "stage 2: code", "what": "data_stage", "step": 801}]}
    stream[799] = Sample(800, stream[799].metrics, meta=said)
    return stream


# What is wrong -> the kind it must be told as.
RUNS: dict[str, tuple[Callable[[], list[Sample]], str]] = {
    "level_shift": (level_shift, "level_shift"),
    "spike": (spike, "spike"),
    "bad_batch": (bad_batch, "bad_batch"),
    "grad_spike": (grad_spike, "grad_spike"),
    "divergence": (divergence, "divergence"),
    # Whether a slow rise is told as a drift or as a shift is not the point here: the chart of blocks sees it.
    "drift": (drift, "drift or level_shift"),
    "noise_change": (noise_change, "noise_change"),
    "nonfinite": (nonfinite, "nonfinite"),
    "dead": (dead, "nonfinite"),
    "lr_anomaly": (lr_anomaly, "lr_anomaly"),
    "plateau": (plateau, "plateau"),
    "early": (early, "spike"),
    "nan_from_the_start": (nan_from_the_start, "nonfinite"),
    "second_event": (second_event, "spike"),
    "announced": (announced, "level_shift"),
}
