"""The mix of domains that a run trains on, as its batches tell it: what is no longer in it is forgotten."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

PREFIX, SUFFIX = "domain/", "/token_share"

_KEPT = 128  # reports, one every twenty steps
_AVERAGED = 16
_MOVED = 0.05  # of all tokens, and ...
_RATIO = 1.5  # ... so many times as much as before, or as little

Shares = dict[str, float]


class TrainingMix:
    """Shares of the tokens by domain, the newest reports.

    >>> mix = TrainingMix()
    >>> for step in range(20, 401, 20):
    ...     mix.update(step, {"domain/law/token_share": 0.3 if step <= 200 else 0.0})
    >>> mix.changes(since=150, until=400)[0]["text"]
    'the share of law in the training went from 30 % to 0 %'
    """

    def __init__(self) -> None:
        self._reports: deque[tuple[int, Shares]] = deque(maxlen=_KEPT)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in a report: metrics named as in ``domain/law/token_share``."""
        shares = {name.removeprefix(PREFIX).removesuffix(SUFFIX): share for name, share in metrics.items()}
        self._reports.append((step, shares))

    def changes(self, since: int, until: int) -> list[dict[str, Any]]:
        """Domains whose share is another one at ``until`` than up to ``since``, the largest move first."""
        before = [shares for step, shares in self._reports if step <= since][-_AVERAGED:]
        later = [(step, shares) for step, shares in self._reports if since < step <= until]
        if not before or not later:
            return []
        found = []
        for name in dict.fromkeys(name for shares in (*before, later[-1][1]) for name in shares):
            # A domain without a row in all the steps of a report is not in it.
            was = sum(shares.get(name, 0.0) for shares in before) / len(before)
            parts = [shares.get(name, 0.0) for _, shares in later]
            newest = parts[-_AVERAGED:]
            # Half of the reports since may be from before the change.
            now = sorted(newest)[len(newest) // 2] if len(newest) > 2 else newest[-1]
            if abs(now - was) >= _MOVED and not was / _RATIO < now < was * _RATIO:
                middle = (was + now) / 2
                step = next(
                    s for s, share in zip((s for s, _ in later), parts, strict=True) if (share < middle) == (now < was)
                )
                text = f"the share of {name} in the training went from {was:.0%} to {now:.0%}".replace("%", " %")
                found.append((abs(now - was), {"step": step, "what": "data_mix", "text": text, "is_declared": False}))
        return [change for _, change in sorted(found, key=lambda pair: -pair[0])]

    def state_dict(self) -> list[Any]:
        return [[step, dict(shares)] for step, shares in self._reports]

    def load_state_dict(self, state: list[Any]) -> None:
        self._reports.extend((step, dict(shares)) for step, shares in state)
