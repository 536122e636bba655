"""Paired changes of a domain: hand-computed values, coverage and level on simulated documents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pretrain_monitor.probes.base import ProbeError, Scores
from pretrain_monitor.probes.paired import holm, is_per_byte, level, paired_change, t_quantile, t_tail


def scores(nats: object, sizes: object, *, tokens: object = None, key: str = "law") -> Scores:
    bytes_ = np.asarray(sizes, dtype=np.int64)
    counts = np.where(bytes_ > 0, bytes_, 1) if tokens is None else np.asarray(tokens, dtype=np.int64)
    return Scores(np.asarray(nats, dtype=np.float64), counts, bytes_, key)


def test_the_level_is_summed_nats_over_summed_bytes_in_bits():
    assert level(scores([math.log(2) * 10, math.log(2) * 50], [10, 100])) == pytest.approx(60 / 110)


def test_without_bytes_the_level_is_nats_per_token():
    found = scores([30.0, 10.0], [100, 0], tokens=[10, 10])
    assert not is_per_byte(found)
    assert level(found) == pytest.approx(2.0)


def test_a_document_without_a_scored_token_counts_for_nothing():
    before = scores([5.0, 7.0, 0.0], [10, 20, 0], tokens=[4, 6, 0])
    after = scores([6.0, 8.0, 0.0], [10, 20, 0], tokens=[4, 6, 0])
    assert is_per_byte(before)
    assert paired_change(before, after).documents == 2
    assert paired_change(before, after) == paired_change(
        scores([5.0, 7.0], [10, 20], tokens=[4, 6]), scores([6.0, 8.0], [10, 20], tokens=[4, 6])
    )


def test_nothing_scored_has_no_level():
    assert math.isnan(level(scores([0.0], [0], tokens=[0])))


def test_with_documents_of_one_length_it_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    before = rng.uniform(50, 90, 12)
    after = before + rng.normal(1, 2, 12)
    found = paired_change(scores(before, [100] * 12), scores(after, [100] * 12))
    known = stats.ttest_rel(after, before, alternative="greater")
    interval = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert found.p == pytest.approx(known.pvalue, rel=1e-9)
    assert (found.lower, found.upper) == pytest.approx(
        (interval.low / 100 / math.log(2), interval.high / 100 / math.log(2))
    )
    assert found.change == pytest.approx(found.after - found.before)


def test_three_documents_by_hand():
    # Changes of 1, 2 and 6 bits on 10, 20 and 30 bytes: 9/60; without each 8/50, 7/40, 3/30.
    before = scores(np.zeros(3), [10, 20, 30])
    after = scores(np.log(2) * np.array([1.0, 2.0, 6.0]), [10, 20, 30])
    without = np.array([8 / 50, 7 / 40, 3 / 30])
    # Moves are counted from the whole, the other way round.
    moves = 9 / 60 - without
    error = math.sqrt(2 / 3 * np.sum((moves - moves.mean()) ** 2))
    found = paired_change(before, after)
    assert found.change == pytest.approx(9 / 60)
    assert found.standard_error == pytest.approx(error)
    assert found.degrees_of_freedom == pytest.approx(60**2 / (10**2 + 20**2 + 30**2) - 1)


def test_one_document_gives_a_change_and_no_test():
    found = paired_change(scores([10.0], [100]), scores([30.0], [100]))
    assert found.change > 0
    assert (found.p, found.lower, found.standard_error) == (None, None, None)


def test_scores_that_are_not_finite_give_no_test():
    found = paired_change(scores([10.0, 20.0], [100, 100]), scores([math.nan, 20.0], [100, 100]))
    assert math.isnan(found.change)
    assert found.p is None


def test_other_documents_cannot_be_paired():
    with pytest.raises(ProbeError, match=r"different documents.*2 of 'law'.*2 of 'law, edited'"):
        paired_change(scores([1.0, 2.0], [10, 10]), scores([1.0, 2.0], [10, 10], key="law, edited"))


def test_documents_that_all_changed_alike_are_certain():
    before = scores([10.0, 20.0], [100, 200])
    worse, same = scores([11.0, 22.0], [100, 200]), scores([10.0, 20.0], [100, 200])
    assert paired_change(before, worse).p == pytest.approx(0, abs=1e-9)
    assert paired_change(before, same).p == 1.0


_TAILS = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "Student t, 3": lambda rng, n: rng.standard_t(3, n),
    "Laplace": lambda rng, n: rng.laplace(size=n),
    "contaminated": lambda rng, n: rng.standard_normal(n) * np.where(rng.random(n) < 0.05, 8, 1),
}


@pytest.mark.parametrize("tail", _TAILS)
@pytest.mark.parametrize("documents", [10, 30])
def test_unchanged_domains_look_worse_at_one_percent_about_once_in_a_hundred(tail: str, documents: int):
    rng = np.random.default_rng(documents)
    found = 0
    for _ in range(1200):
        sizes = rng.lognormal(6, 0.7, documents).astype(int) + 1
        change = paired_change(scores(np.zeros(documents), sizes), scores(_TAILS[tail](rng, documents) * sizes, sizes))
        found += change.p is not None and change.p <= 0.01
    assert found <= 24, "twice of what was asked for is five standard deviations away"


@pytest.mark.parametrize("documents", [10, 30, 100])
def test_an_interval_covers_the_change_as_often_as_it_says(documents: int):
    rng = np.random.default_rng(documents)
    covered = 0
    for _ in range(400):
        sizes = rng.lognormal(6, 0.7, documents).astype(int) + 1
        after = (0.1 + 0.3 * rng.standard_t(4, documents)) * sizes * math.log(2)
        change = paired_change(scores(np.zeros(documents), sizes), scores(after, sizes))
        assert change.lower is not None and change.upper is not None
        covered += change.lower <= 0.1 <= change.upper
    assert 0.92 <= covered / 400 <= 0.985


@pytest.mark.parametrize(("documents", "least"), [(10, 0.6), (30, 0.97)])
def test_a_change_of_one_standard_deviation_is_seen(documents: int, least: float):
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(200):
        sizes = rng.integers(800, 1200, documents)
        after = (1 + rng.standard_normal(documents)) * sizes
        seen += (paired_change(scores(np.zeros(documents), sizes), scores(after, sizes)).p or 0) <= 0.01
    assert seen / 200 >= least


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize("freedom", [1.0, 1.7, 4.0, 29.3, 500.0])
def test_the_t_distribution_agrees_with_scipy(freedom: float):
    for t in (-4.0, -0.2, 0.0, 0.7, 2.5, 30.0):
        assert t_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-8)
    for share in (0.5, 0.9, 0.975, 0.9999):
        assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-8, abs=1e-9)
