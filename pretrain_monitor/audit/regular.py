"""Whether something comes back at regular distances, as the turn of an epoch or a cycle of the data does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FEWEST = 4  # times: two distances alike are chance, three are a clock
_MOST_TURNS = 4
_LOOSE = 0.03  # of the distance: by how much a turn may be off ...
_UNSURE = 2  # ... or by this part of the length within which a place is known


def period_of(row: int, rows: Sequence[int], length: int, n: int) -> int | None:
    """The distance at which what happens at ``row`` happens again and again, all over the run; None if it does not.

    Args:
        rows: where the like of it happens, in any order; ``row`` may be among them.
        length: of the stretches that were compared to find them.
        n: rows of the run.
    """
    others = np.unique(np.asarray(rows, dtype=np.int64))
    away = np.abs(others - row)
    # Read off several turns away it is known best.
    for turns_away in range(_MOST_TURNS, 0, -1):
        distances: list[float] = (away[away >= 2 * length * turns_away] / turns_away).tolist()
        for distance in distances:
            turns = np.arange(-(row // distance), (n - 1 - row) // distance + 1)
            places = row + turns * distance
            # At the ends there is nothing to compare with.
            places = places[(places >= length) & (places <= n - length)]
            if len(places) < _FEWEST:
                continue
            off = np.abs(others[None, :] - places[:, None]).min(axis=1)
            if (off <= max(length / _UNSURE, _LOOSE * distance)).all():
                return round(distance)
    return None
