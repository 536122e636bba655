"""Phases of runs that were put together from power laws and shifts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pretrain_monitor.audit.segments import Segment, segments_of


def power_law(n: int, *, seed: int = 0, noise: float = 0.02) -> np.ndarray:
    t = np.arange(n)
    return (2.2 + 8 * (t + 20.0) ** -0.4) * np.exp(noise * np.random.default_rng(seed).standard_normal(n))


def test_a_shift_of_three_percent_parts_a_long_run_in_two_phases():
    loss = power_law(200_000)
    loss[120_000:] *= 1.03
    before, after = segments_of(np.arange(200_000), loss)
    assert before.first_step == 0
    assert abs(after.first_step - 120_000) <= 500  # two bins
    assert after.last_step == 199_999
    assert before.last_step == after.first_step - 1
    assert before.rows + after.rows == 200_000
    assert before.against_trend == pytest.approx(0.0, abs=0.003)
    assert after.against_trend == pytest.approx(0.03, abs=0.004)
    assert after.level == pytest.approx(1.03 * (2.2 + 8 * 160_000**-0.4), rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_follows_its_power_law_is_one_phase_but_for_its_steep_start_and_spikes_make_none(seed: int):
    loss = power_law(20_000, seed=seed)
    loss[[500, 9000, 15_000]] *= 3
    loss[12_000:12_010] *= 1.5
    phases = segments_of(np.arange(20_000), loss)
    assert len(phases) <= 2
    assert phases[-1].first_step <= 150  # six bins
    assert (phases[-1].last_step, sum(phase.rows for phase in phases)) == (19_999, 20_000)
    assert phases[-1].slope < 0
    assert phases[-1].against_trend == pytest.approx(0.0, abs=0.002)


def test_a_stretch_that_comes_back_is_a_phase_between_two():
    loss = power_law(20_000)
    loss[8000:11_000] *= 1.1
    phases = segments_of(np.arange(20_000), loss)
    assert [phase.against_trend > 0.08 for phase in phases] == [False, True, False]
    assert abs(phases[1].first_step - 8000) <= 50
    assert abs(phases[2].first_step - 11_000) <= 50


def test_slope_is_in_nats_per_thousand_steps():
    steps = np.arange(0, 60_000, 10)
    loss = 5 - 1e-5 * steps + 0.001 * np.random.default_rng(0).standard_normal(len(steps))
    phases = segments_of(steps, loss)
    assert all(phase.slope == pytest.approx(-0.01, rel=0.1) for phase in phases if phase.rows > 500)


def test_a_wandering_loss_has_no_more_than_twenty_phases_that_tile_the_run():
    steps = np.arange(50_000)
    loss = 3 + 0.05 * np.cumsum(np.random.default_rng(0).standard_normal(50_000)) / 10
    phases = segments_of(steps, loss)
    assert 2 < len(phases) <= 20
    assert [phase.first_step for phase in phases[1:]] == [phase.last_step + 1 for phase in phases[:-1]]


def test_values_that_are_not_finite_are_left_out():
    loss = power_law(4000)
    loss[[0, 100, 3999]] = np.nan, np.inf, -np.inf
    phases = segments_of(np.arange(4000), loss)
    assert (phases[0].first_step, phases[-1].last_step) == (1, 3998)
    assert sum(phase.rows for phase in phases) == 3997


@pytest.mark.parametrize("n", [1, 2, 30, 47])
def test_a_short_run_is_one_phase(n: int):
    assert segments_of(np.arange(n), np.full(n, 2.0)) == [Segment(0, n - 1, n, 2.0, 0.0, 0.0)]


def test_no_finite_value_is_no_phase():
    assert segments_of(np.arange(0), np.zeros(0)) == []
    assert segments_of(np.arange(300), np.full(300, np.nan)) == []


@pytest.mark.parametrize("level", [0.0, -3.0, 1e-9, 2.0])
def test_a_constant_loss_of_any_level_is_one_phase(level: float):
    (whole,) = segments_of(np.arange(1000), np.full(1000, level))
    assert (whole.level, whole.slope) == (level, 0.0)


def test_ruptures_is_imported_only_to_segment_and_missing_it_says_how_to_get_it():
    script = (
        "import sys, numpy as np\n"
        "from pretrain_monitor.audit.segments import segments_of\n"
        "assert 'ruptures' not in sys.modules\n"
        "sys.modules['ruptures'] = None\n"  # as if it was not installed
        "try:\n"
        "    segments_of(np.arange(200), np.full(200, 2.0))\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "the phases of a run need ruptures: pip install 'pretrain-monitor[report]'\n"
