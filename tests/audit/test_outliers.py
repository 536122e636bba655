from __future__ import annotations

import numpy as np
import pytest
from curves import healthy_run

from pretrain_monitor.audit.outliers import lone_values


def test_single_and_double_values_are_found_where_they_are():
    loss = healthy_run(6000, seed=1)["loss"]
    loss[[400, 1500, 1501, 5990]] *= 1.5
    assert lone_values(loss).tolist() == [400, 1500, 5990]


@pytest.mark.parametrize("length", [3, 10, 200])
def test_what_lasts_is_no_single_value(length: int):
    loss = healthy_run(6000, seed=1)["loss"]
    loss[3000 : 3000 + length] *= 1.5
    assert lone_values(loss).tolist() == []


def test_noise_of_healthy_runs_has_none():
    assert sum(len(lone_values(healthy_run(5000, seed=seed, noise=0.03)["loss"])) for seed in range(10)) <= 1


@pytest.mark.parametrize("values", [np.empty(0), np.ones(50), np.full(1000, 2.5), np.zeros(1000)])
def test_nothing_to_look_at_is_nothing_found(values: np.ndarray):
    assert len(lone_values(values)) == 0
