from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor.detection.early import EarlyLossRule


def fired(losses: list[float], until: int = 200) -> list[int]:
    rule = EarlyLossRule(until)
    return [i for i, loss in enumerate(losses) if rule.update(loss)]


def test_a_loss_that_triples_within_the_first_five_steps_is_told_at_that_step():
    assert fired([7.0, 6.9, 6.8, 20.6])[:1] == [3]
    assert fired([7.0, 21.0])[:1] == [1]


def test_a_blow_up_in_warm_up_is_told_within_two_samples():
    losses = [*np.linspace(10.8, 7.0, 40), 9.6, 9.9, 10.4, 10.2, *np.linspace(9, 6.5, 60)]
    assert fired(losses)[0] in (41, 42)


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_start_is_quiet(seed: int):
    rng = np.random.default_rng(seed)
    t = np.arange(200)
    losses = (3 + 8 * np.exp(-t / 30)) * np.exp(0.05 * rng.standard_normal(200))
    assert fired(losses.tolist()) == []


@pytest.mark.parametrize(("noise", "allowed"), [(0.25, 0), (0.35, 1)])
def test_noisy_starts_of_fine_tuning_are_quiet(noise: float, allowed: int):
    starts = [np.abs(1.0 + noise * np.random.default_rng(seed).standard_normal(200)) for seed in range(20)]
    assert sum(bool(fired(losses.tolist())) for losses in starts) <= allowed


def test_one_high_batch_that_does_not_double_the_loss_is_not_told():
    assert fired([7.0, 6.8, 6.6, 9.5, 6.4, 6.3, 6.2]) == []


def test_the_rule_is_silent_once_statistics_have_taken_over():
    assert fired([5.0] * 50 + [20.0], until=50) == []


@pytest.mark.parametrize(("noise", "allowed"), [(0.1, 0), (0.2, 1), (0.3, 3)])
def test_skewed_noise_of_small_batches_is_no_blow_up(noise: float, allowed: int):
    starts = [2.5 * np.exp(noise * np.random.default_rng(seed).standard_normal(200)) for seed in range(20)]
    assert sum(bool(fired(losses.tolist())) for losses in starts) <= allowed
