"""Segmentation against ``ruptures``, which solves the same problem."""

from __future__ import annotations

import numpy as np
import pytest
import ruptures

from pretrain_monitor.detection.segmentation import segment_ends


@pytest.mark.parametrize(("penalty", "min_size"), [(12.0, 3), (25.0, 5), (3.0, 1)])
def test_the_same_stretches_as_ruptures(penalty: float, min_size: int):
    rng = np.random.default_rng(0)
    for _ in range(100):
        y = rng.normal(size=rng.integers(2 * min_size, 300))
        for _ in range(rng.integers(0, 4)):
            first, last = sorted(rng.integers(0, len(y), 2))
            y[first:last] += 3 * rng.normal()
        algorithm = ruptures.KernelCPD(kernel="linear", min_size=min_size).fit(y.reshape(-1, 1))
        expected = [int(end) for end in algorithm.predict(pen=penalty)]
        assert segment_ends(y, penalty=penalty, min_size=min_size) == expected


def test_a_series_too_short_to_be_split_is_one_stretch():
    assert segment_ends(np.array([0.0, 9.0, 0.0]), penalty=1.0, min_size=2) == [3]
    assert segment_ends(np.array([7.0]), penalty=1.0, min_size=3) == [1]
