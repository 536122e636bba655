from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.gaps import are_same_documents, gap

rng = np.random.default_rng(0)
BYTES = rng.integers(200, 900, 40)
HARDNESS = rng.uniform(0.5, 2.0, 40)


def scores(bits: float, *, key: str, bytes_per_token: int = 4, bytes: np.ndarray = BYTES) -> Scores:
    """Documents that cost so many bits per byte on average, some more than others."""
    weights = HARDNESS[: len(bytes)] * len(bytes) / HARDNESS[: len(bytes)].sum()
    noise = np.random.default_rng(len(key)).normal(0, 0.01, len(bytes))
    nats = np.log(2) * bytes * (bits * weights + noise)
    return Scores(nats, bytes // bytes_per_token, bytes, key)


def test_two_tokenizers_on_the_same_documents_are_paired_by_their_bytes():
    before, after = scores(1.0, key="words"), scores(1.2, key="letters", bytes_per_token=1)
    found = gap(before, after)
    assert found is not None
    assert found.is_paired
    exact = (after.nats.sum() - before.nats.sum()) / (np.log(2) * BYTES.sum())
    assert found.value == pytest.approx(exact)
    assert found.lower is not None and found.upper is not None
    assert found.lower < exact < found.upper
    assert found.is_clear


def test_other_documents_are_compared_with_a_wider_interval_and_it_is_said():
    before, after = scores(1.0, key="a"), scores(1.2, key="b", bytes=BYTES[::-1].copy())
    paired, loose = gap(before, scores(1.2, key="bb")), gap(before, after)
    assert paired is not None and loose is not None
    assert not loose.is_paired
    assert loose.standard_error is not None and paired.standard_error is not None
    assert loose.standard_error > 3 * paired.standard_error


def test_the_same_number_of_documents_does_not_make_them_the_same():
    assert not are_same_documents(scores(1, key="a"), scores(1, key="b", bytes=BYTES + 1))
    assert not are_same_documents(scores(1, key="a"), scores(1, key="a", bytes=BYTES[:-1]))


def test_documents_that_are_all_of_one_size_are_not_known_by_their_sizes():
    pieces, letters = np.full(40, 1000), np.full(1, 1000)
    before, after = scores(1.0, key="a", bytes=pieces), scores(1.2, key="b", bytes=pieces)
    assert not are_same_documents(before, after)
    assert are_same_documents(before, scores(1.2, key="a", bytes=pieces))
    assert are_same_documents(before, after, has_one_source=True)
    found = gap(before, after)
    assert found is not None
    assert (found.is_paired, round(found.value, 2)) == (False, 0.2)
    # That two single texts are as long as each other to the byte says more.
    assert are_same_documents(scores(1.0, key="a", bytes=letters), scores(1.2, key="b", bytes=letters))


def test_without_bytes_only_the_same_tokens_can_be_compared():
    def tokens_only(key: str) -> Scores:
        full = scores(1.0, key=key)
        return Scores(full.nats, full.tokens, np.zeros_like(BYTES), key)

    assert gap(tokens_only("a"), tokens_only("b")) is None
    same = gap(tokens_only("a"), tokens_only("a"))
    assert same is not None
    assert (same.value, same.is_paired) == (0.0, True)


def test_one_document_has_a_gap_and_no_interval():
    found = gap(scores(1.0, key="a", bytes=BYTES[:1]), scores(1.1, key="b", bytes=BYTES[:1] + 5))
    assert found is not None
    assert (found.lower, found.is_paired, found.is_clear) == (None, False, False)
