"""What holds for any sequence of numbers."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pretrain_monitor import Incident, InstabilityDetector, Sample
from tests.curves import alerts, detect, healthy_run

_ANY = st.floats(allow_nan=True, allow_infinity=True)
_USUAL = st.floats(0.1, 20.0)


def eventful(seed: int, n: int = 700) -> list[Sample]:
    """A run with a spike, a shift and a NaN at places that ``seed`` draws."""
    rng = np.random.default_rng(seed)
    run = healthy_run(n, seed=seed)
    at, shift, nan = (int(place) for place in np.sort(rng.integers(250, n - 60, 3)))
    run["loss"][at : at + 10] *= rng.uniform(1.2, 3.0)
    run["loss"][shift:] *= rng.uniform(1.05, 1.3)
    run["loss"][nan] = np.nan
    rows = zip(*(run[name].tolist() for name in run), strict=True)
    return [Sample(step, dict(zip(run, row, strict=True))) for step, row in enumerate(rows, start=1)]


def outline(incidents: list[Incident]) -> list[tuple[object, ...]]:
    return [(i.kind, i.severity, i.status, i.onset_step, i.detected_step, i.end_step) for i in incidents]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_ANY, _ANY, _ANY), max_size=300), st.sampled_from(["auto", "log", "linear"]))
@example(
    [(4e88, 0.0, 0.0)] * 2 + [(0.0, 0.0, 0.0), (0.0, 0.0, -1.0), (1e-235, 0.0, 0.0), (0.0, 0.0, 0.0), (2.0, 0.0, 0.0)],
    "auto",
)
def test_no_sequence_of_numbers_crashes_it_or_leaves_an_alert_without_words(rows, transform):
    stream = [Sample(i, {"loss": a, "grad_norm": b, "learning_rate": c}) for i, (a, b, c) in enumerate(rows, start=1)]
    for incident in detect(stream, {"transform": transform})[1]:
        assert incident.message
        assert incident.onset_step <= incident.detected_step


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_the_scale_of_a_signal_that_is_judged_by_its_logarithm_does_not_matter(seed, factor):
    stream = eventful(seed)
    # From sample 1 on the early rules count nats, so only what is told after them is compared.
    config = {"transform": "log", "warmup_steps": 200}
    scaled = [Sample(s.step, {**s.metrics, "grad_norm": s.metrics["grad_norm"] * factor}) for s in stream]
    assert outline(detect(scaled, config)[1]) == outline(detect(stream, config)[1])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(-50, 50))
def test_the_origin_of_a_signal_that_is_judged_as_it_is_does_not_matter(seed, offset):
    stream = eventful(seed)
    config = {"transform": "linear"}
    moved = [Sample(s.step, {**s.metrics, "grad_norm": s.metrics["grad_norm"] + offset}) for s in stream]
    assert outline(detect(moved, config)[1]) == outline(detect(stream, config)[1])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 699), max_size=4, unique=True))
def test_a_run_in_pieces_gives_what_it_gives_at_once(seed, cuts):
    stream = eventful(seed)
    detector = InstabilityDetector()
    for place, sample in enumerate(stream):
        if place in cuts:
            state = json.loads(json.dumps(detector.state_dict()))
            resumed = InstabilityDetector()
            resumed.load_state_dict(state, detector.incidents)
            detector = resumed
        detector.update(sample)
    detector.finish()
    assert [repr(i) for i in detector.incidents] == [repr(i) for i in detect(stream)[1]]


@settings(max_examples=20, deadline=None)
@given(_USUAL, _USUAL, st.integers(300, 1500))
def test_constants_raise_nothing(loss, norm, n):
    assert detect(Sample(i, {"loss": loss, "grad_norm": norm}) for i in range(1, n))[1] == []


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_the_state_does_not_grow(seed):
    run = healthy_run(6000, seed=seed)
    detector = InstabilityDetector()
    sizes = {}
    for step, (loss, norm) in enumerate(zip(run["loss"].tolist(), run["grad_norm"].tolist(), strict=True), start=1):
        detector.update(Sample(step, {"loss": loss, "grad_norm": norm}))
        if step in (3000, 6000):
            sizes[step] = len(json.dumps(detector.state_dict()))
    assert sizes[6000] < 1.1 * sizes[3000]


def test_what_is_found_depends_on_the_samples_alone():
    stream = eventful(5)
    assert [repr(i) for i in detect(stream)[1]] == [repr(i) for i in detect(stream)[1]]
    assert alerts(detect(stream)[1])
    assert any(math.isnan(s.metrics["loss"]) for s in stream)
