"""Exact segmentation of a short series into stretches of one level."""

from __future__ import annotations

import numpy as np

from .residual import Floats


def segment_ends(y: Floats, *, penalty: float, min_size: int) -> list[int]:
    """Where stretches end, exclusive, the last at ``len(y)``: the least sum of squared distances from the mean of each
    stretch, plus ``penalty`` for each.

    Optimal partitioning (Jackson et al. 2005), the same result as PELT (Killick, Fearnhead and Eckley 2012) and as
    ``ruptures.KernelCPD`` with a linear kernel, which takes seconds to import and which tests compare this with.

    Args:
        y: shape ``(n,)``, finite.
        min_size: of a stretch; a shorter series is one.
    """
    n = len(y)
    sums = np.concatenate(([0.0], np.cumsum(y)))
    # Squares of all values add the same to every partition: only what a mean explains of them counts.
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    before = np.zeros(n + 1, dtype=np.intp)
    per_length = 1.0 / np.arange(n, 0, -1)
    buffer = np.empty(n + 1)
    for end in range(min_size, n + 1):
        starts = end - min_size + 1  # those that leave room; between 0 and min_size none is finite
        costs = buffer[:starts]
        np.subtract(sums[:starts], sums[end], out=costs)
        costs *= costs
        costs *= per_length[n - end : n - end + starts]
        np.subtract(best[:starts], costs, out=costs)
        start = int(costs.argmin())
        before[end], best[end] = start, costs[start] + penalty
    ends = [n]
    while before[ends[-1]] > 0:
        ends.append(int(before[ends[-1]]))
    return ends[::-1]
