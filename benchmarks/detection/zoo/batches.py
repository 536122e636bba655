"""The batches of a run: windows of real text, in an order given by the seed, with the planned damage done to them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pretrain_monitor.demo.text import Bytes, load_text

from .recipes import VOCABULARY, Recipe, Settings

Windows = NDArray[np.int64]

# Random streams of one seed and step must not be the same one.
_DRAW, _DAMAGE, _EPOCH = 1, 2, 3


def batch(recipe: Recipe, step: int) -> tuple[Windows, Windows]:
    """Input bytes and targets of one step, both of shape (batch size, sequence length)."""
    settings = recipe.at(step)
    drawn_for = step if settings.repeats_step is None else settings.repeats_step
    # One more byte than the model reads for each position that a target lies ahead.
    length = settings.sequence_length + 1 + settings.label_shift
    windows = _draw(recipe, settings, drawn_for, length)
    _damage(windows, settings, np.random.default_rng((recipe.seed, step, _DAMAGE)))
    ahead = 1 + settings.label_shift
    return windows[:, : settings.sequence_length], windows[:, ahead : ahead + settings.sequence_length]


def _draw(recipe: Recipe, settings: Settings, step: int, length: int) -> Windows:
    # Drawn as numbers in [0, 1) first: the same places in the text whatever the length of a window.
    if settings.window_count is None:
        random = np.random.default_rng((recipe.seed, step, _DRAW))
        places = random.random((settings.batch_size, 2))
    else:
        places = _places_by_epoch(recipe.seed, settings, step)
    shares = np.cumsum([share for _, share in settings.domains])
    texts = [_train_bytes(name) for name, _ in settings.domains]
    rows = []
    for which, where in places:
        text = texts[min(int(np.searchsorted(shares, which, side="right")), len(texts) - 1)]
        start = int(where * (len(text) - length))
        rows.append(text[start : start + length])
    return np.stack(rows).astype(np.int64)


def _places_by_epoch(seed: int, settings: Settings, step: int) -> NDArray[np.float64]:
    assert settings.window_count is not None
    fixed = np.random.default_rng((seed, 0, _EPOCH)).random((settings.window_count, 2))
    places = []
    for sample in range((step - 1) * settings.batch_size, step * settings.batch_size):
        epoch, position = divmod(sample, settings.window_count)
        places.append(fixed[_order(seed, epoch if settings.reshuffle else 0, settings.window_count)[position]])
    return np.stack(places)


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch + 1, _EPOCH)).permutation(count)


@lru_cache(maxsize=4)
def _train_bytes(domain: str) -> Bytes:
    return load_text()[domain].train_bytes()


def _damage(windows: Windows, settings: Settings, random: np.random.Generator) -> None:
    """Replace the last rows in place: by random bytes, or by their own bytes in random order."""
    if settings.corruption == "none":
        return
    count = round(settings.corrupted_share * len(windows))
    rows = windows[len(windows) - count :]
    if settings.corruption == "random_bytes":
        rows[:] = random.integers(0, VOCABULARY, rows.shape)
    else:
        rows[:] = random.permuted(rows, axis=1)
