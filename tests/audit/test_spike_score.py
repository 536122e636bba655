from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor.audit.spike_score import WINDOW, spike_score


def slowly(values: np.ndarray) -> list[int]:
    """The definition, value by value."""
    found = []
    for at in range(100, len(values)):
        before = values[max(at - WINDOW, 0) : at]
        if abs(values[at] - before.mean()) >= 7 * before.std():
            found.append(at)
    return found


@pytest.mark.parametrize("level", [0.0, 3.0, 1e6])
def test_it_is_the_published_definition_at_every_value(level: float):
    rng = np.random.default_rng(0)
    values = level + rng.standard_t(3, 4000)
    score, places = spike_score(values)
    assert places.tolist() == slowly(values)
    assert score == pytest.approx(100 * len(places) / 3900) and len(places) > 3


def test_a_constant_loss_has_no_spikes_and_one_step_of_it_is_one():
    values = np.full(2000, 2.5)
    assert spike_score(values)[0] == 0.0
    values[1200] = 2.6
    assert spike_score(values)[1].tolist()[0] == 1200


def test_a_run_too_short_to_have_a_spread_has_no_score():
    assert spike_score(np.arange(50.0))[0] == 0.0
