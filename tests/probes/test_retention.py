"""Forgetting is told, and the wobble of a healthy run is not."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from probe_rounds import DOMAINS, probe_rounds

from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.paired import holm, paired_change
from pretrain_monitor.probes.retention import Change, RetentionTracker
from pretrain_monitor.probes.rounds import Round, scores_from_json, scores_to_json

LAW = "heldout/law"
AT_ONCE = {LAW: (20, 0.09, 0.3)}


def follow(rounds, **settings) -> list[list[Change]]:
    tracker = RetentionTracker(**settings)
    return [tracker.update(step, scores) for step, scores in rounds]


def flagged(found: list[list[Change]]) -> list[tuple[int, str]]:
    """Step and domain of each loss where it was found first."""
    was_lost: dict[str, bool] = {}
    news = []
    for changes in found:
        for change in changes:
            if change.is_loss and not was_lost.get(change.domain, False):
                news.append((change.step, change.domain))
            was_lost[change.domain] = change.is_loss
    return news


def of(found: list[list[Change]], domain: str) -> list[Change]:
    return [change for changes in found for change in changes if change.domain == domain]


def constant(level: float, *, documents: int = 30, key: str = "a", spread: float = 0.02, seed: int = 0) -> Scores:
    """Documents of a known level in bits per byte, give or take a noise of their own that sums up to nothing."""
    noise = np.random.default_rng(seed).standard_normal(documents) if documents > 1 else np.zeros(1)
    sizes = np.full(documents, 1000)
    nats = math.log(2) * 1000 * level * (1 + spread * (noise - noise.mean()))
    return Scores(nats, sizes, sizes, key)


def test_a_first_round_says_nothing_yet():
    (change,) = RetentionTracker().update(100, {LAW: constant(0.9)})
    assert (change.is_loss, change.is_first, change.metric) == (False, True, "heldout/law/bits_per_byte")
    assert change.value == change.best == change.first == pytest.approx(0.9)


def test_ten_healthy_runs_raise_at_most_one_false_flag_where_a_paired_test_alone_raises_dozens():
    flags, alone = 0, 0
    for seed in range(10):
        rounds = list(probe_rounds(seed=seed, is_learning=seed % 2 == 0))
        flags += len(flagged(follow(rounds)))
        best = rounds[0][1]
        for _, scores in rounds[1:]:
            changes = {name: paired_change(best[name], scores[name]) for name in DOMAINS}
            alone += sum(p <= 0.01 for p in holm({name: found.p or 0 for name, found in changes.items()}).values())
            best = {name: scores[name] if found.change < 0 else best[name] for name, found in changes.items()}
    assert flags <= 1
    assert alone > 50


@pytest.mark.parametrize("seed", range(5))
def test_what_is_forgotten_at_once_is_flagged_in_its_first_round_and_nothing_else_is(seed: int):
    found = follow(probe_rounds(seed=seed, forgets=AT_ONCE))
    assert flagged(found) == [(20 * 500, LAW)]
    lost = of(found, LAW)[20]
    assert lost.good_step == 19 * 500
    assert lost.lower is not None and lost.upper is not None
    assert lost.lower < lost.change < lost.upper
    assert 0.05 < lost.relative < 0.15
    assert lost.limit is not None and lost.limit < lost.relative


@pytest.mark.parametrize("seed", range(3))
def test_domains_that_are_forgotten_together_are_all_flagged(seed: int):
    forgets = dict.fromkeys(DOMAINS[1:], (15, 0.12, 2.0))
    found = flagged(follow(probe_rounds(seed=seed, forgets=forgets)))
    assert sorted(domain for _, domain in found) == sorted(DOMAINS[1:])
    assert all(15 * 500 <= step <= 17 * 500 for step, _ in found)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_forgotten_slowly_is_flagged_before_much_is_gone(seed: int):
    found = follow(probe_rounds(40, seed=seed, forgets={LAW: (15, 0.2, 15.0)}))
    ((step, domain),) = flagged(found)
    assert domain == LAW
    assert 16 * 500 <= step <= 21 * 500
    first = next(change for change in of(found, LAW) if change.is_loss)
    assert first.relative < 0.10
    assert first.good_step >= 14 * 500


@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_many_rounds_was_lucky_and_that_is_no_loss(seed: int):
    found = follow(probe_rounds(60, seed=seed, is_learning=False, documents=80))
    assert flagged(found) == []
    # It would be one for the documents alone, time and again.
    assert sum((change.lower or 0) > 0 for changes in found for change in changes) > 60


def test_a_run_that_wobbles_more_is_allowed_more():
    limits = []
    for wobble in (0.001, 0.006, 0.02):
        found = follow(probe_rounds(25, seed=3, wobble=wobble))
        assert flagged(found) == []
        limits.append(of(found, LAW)[-1].limit)
    assert 0.01 < limits[0] < limits[1] < limits[2] < 0.2


@pytest.mark.parametrize("seed", range(5))
def test_a_run_wobbles_less_from_the_round_on_in_which_its_learning_rate_is_cut(seed: int):
    rng = np.random.default_rng(seed)
    informed, uninformed = RetentionTracker(), RetentionTracker()
    limits = []
    for i in range(33):
        rate = 1e-3 if i < 30 else 1e-5  # which leaves a tenth of the wobble
        level = 1.0 + 0.3 * (i + 1) ** -0.5 - (0.03 if i >= 30 else 0.0)
        scores = constant(
            level * math.exp(0.01 * math.sqrt(rate / 1e-3) * rng.standard_normal()), spread=0.0001, seed=i
        )
        (knows,) = informed.update(100 * i, {LAW: scores}, rate)
        (does_not,) = uninformed.update(100 * i, {LAW: scores})
        assert not knows.is_loss and not does_not.is_loss
        limits.append((knows.limit, does_not.limit))
    assert limits[29][0] == limits[29][1]
    assert 0.01 <= limits[32][0] < 0.5 * limits[32][1]
    # What is lost there is then seen at once.
    lost = {LAW: constant(level * 1.018, spread=0.0001, seed=99)}
    assert informed.update(3300, lost, rate)[0].is_loss
    assert not uninformed.update(3300, lost)[0].is_loss


@pytest.mark.parametrize("rates", [(math.nan, 1e-3), (1e-3, math.inf), (-1.0, 1e-3), (0.0, 0.0), (None, 1e-3)])
def test_an_odd_learning_rate_changes_nothing(rates):
    usual, odd = RetentionTracker(), RetentionTracker()
    for number, (step, scores) in enumerate(probe_rounds(20, seed=1)):
        assert odd.update(step, scores, rates[number % 2]) == usual.update(step, scores)


def test_two_rounds_in_a_row_are_told_where_neither_is_by_itself():
    tracker = RetentionTracker()
    for step, scores in probe_rounds(25, seed=3):
        tracker.update(step, scores)
    (ahead,) = [change for change in pickle.loads(pickle.dumps(tracker)).update(12_500, scores) if change.domain == LAW]
    assert ahead.limit is not None
    level = ahead.best * (1 + 0.9 * ahead.limit)
    told = []
    for step in (12_500, 13_000):
        scores[LAW] = replace(scores[LAW], nats=scores[LAW].nats * level / value_of(scores[LAW]))
        told += [change.is_loss for change in tracker.update(step, scores) if change.domain == LAW]
    assert told == [False, True]


def value_of(scores: Scores) -> float:
    return float(scores.nats.sum() / scores.bytes.sum() / math.log(2))


def test_a_domain_is_lost_until_it_is_back():
    tracker = RetentionTracker()
    levels = [1.0, 0.98, 0.96, 0.95, 0.94, 1.05, 1.04, 0.99, 0.945, 0.94]
    found = [tracker.update(100 * i, {LAW: constant(level, seed=i)})[0] for i, level in enumerate(levels)]
    assert [change.is_loss for change in found] == [False] * 5 + [True] * 3 + [False] * 2
    assert [change.good_step for change in found[4:]] == [400, 400, 400, 400, 800, 900]
    assert {change.best_step for change in found[5:9]} == {400}


@pytest.mark.parametrize(("level", "is_loss"), [(1.008, False), (1.012, True)])
def test_a_certain_change_that_is_too_small_to_matter_is_not_told(level: float, is_loss: bool):
    tracker = RetentionTracker()
    for i in range(30):
        tracker.update(100 * i, {LAW: constant(1.0 + 1e-5 * (i % 3), spread=0.0001, seed=i)})
    (change,) = tracker.update(3000, {LAW: constant(level, spread=0.0001, seed=99)})
    assert change.p_adjusted is not None and change.p_adjusted < 1e-6
    assert change.limit == pytest.approx(0.01)
    assert change.is_loss is is_loss


def test_a_large_change_that_documents_do_not_agree_on_is_not_told():
    tracker = RetentionTracker()
    sizes = np.full(6, 1000)
    nats = np.full(6, 700.0)
    for i in range(10):
        tracker.update(100 * i, {LAW: Scores(nats, sizes, sizes, "a")})
    one_of_them = nats * np.array([2.0, 1, 1, 1, 1, 1])
    (change,) = tracker.update(1000, {LAW: Scores(one_of_them, sizes, sizes, "a")})
    assert change.relative > 0.15
    assert not change.is_loss


def test_what_is_sure_of_one_domain_is_less_sure_of_the_worst_of_twenty():
    sizes = np.full(12, 1000)
    noise = np.random.default_rng(0).standard_normal(12)
    noise -= noise.mean()
    verdicts = []
    for others in (0, 19):
        tracker = RetentionTracker()
        for i in range(20):
            rounds = {
                LAW: 700 * (1 + 0.001 * np.roll(noise, i)),
                **{f"heldout/{k}": 700 + noise for k in range(others)},
            }
            if i == 19:
                # As clear as three standard errors: 0.6 % for one domain.
                rounds[LAW] = 700 * (1.06 + 0.02 * math.sqrt(12) * noise)
            found = tracker.update(100 * i, {name: Scores(nats, sizes, sizes, name) for name, nats in rounds.items()})
        verdicts.append(found[0])
    alone, among = verdicts
    assert alone.p == pytest.approx(among.p, rel=0.05)
    assert among.p_adjusted == pytest.approx(20 * (among.p or 0))
    assert (alone.is_loss, among.is_loss) == (True, False)


def test_edited_documents_are_followed_afresh_and_it_is_said():
    tracker = RetentionTracker()
    tracker.update(100, {LAW: constant(0.8)})
    (change,) = tracker.update(200, {LAW: constant(1.2, key="b")})
    assert (change.is_loss, change.is_first, change.first_step, change.best_step) == (False, True, 200, 200)
    assert "documents are not those" in change.note
    (change,) = tracker.update(300, {LAW: constant(1.3, key="b")})
    assert (change.is_first, change.best_step, change.note) == (False, 200, "")


def test_a_round_of_nan_is_no_loss_and_is_not_compared_with():
    tracker = RetentionTracker()
    for i in range(4):
        tracker.update(100 * i, {LAW: constant(0.9, seed=i)})
    broken = constant(0.9)
    broken.nats[3] = math.nan
    (change,) = tracker.update(400, {LAW: broken})
    assert math.isnan(change.value) and not change.is_loss
    assert json.loads(json.dumps(change.to_json(), allow_nan=False))["value"] == "NaN"
    (change,) = tracker.update(500, {LAW: constant(0.9, seed=5)})
    assert change.previous_step == 300
    tracker.update(600, {LAW: constant(1.2, seed=6)})
    (change,) = tracker.update(700, {LAW: broken})
    assert change.is_loss, "nobody knows that it is back"


def test_a_first_round_of_nan_or_of_nothing_leaves_the_domain_for_later():
    tracker = RetentionTracker()
    nothing = Scores(np.zeros(2), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), "a")
    (change,) = tracker.update(0, {LAW: nothing})
    assert (change.note, change.is_first, change.documents) == ("nothing was scored", False, 0)
    (change,) = tracker.update(100, {LAW: constant(0.9)})
    assert change.is_first


def test_one_document_is_compared_without_a_test():
    tracker = RetentionTracker()
    for i in range(10):
        tracker.update(100 * i, {LAW: constant(0.9, documents=1)})
    (change,) = tracker.update(1000, {LAW: constant(1.8, documents=1)})
    assert (change.is_loss, change.p, change.lower, change.note) == (False, None, None, "one document: no test")
    assert change.relative == pytest.approx(1.0)


def test_domains_may_come_at_different_rounds():
    tracker = RetentionTracker()
    for i in range(8):
        tracker.update(100 * i, {LAW: constant(1 - 0.01 * i, seed=i)})
        if i % 3 == 0:
            (change,) = tracker.update(100 * i, {"task/sums": replace(constant(2.0, seed=i), right=np.ones(30))})
    assert (change.metric, change.previous_step) == ("task/sums/gold_bits_per_byte", 300)


def test_a_domain_of_unknown_bytes_is_compared_in_nats_per_token():
    unknown = replace(constant(0.9), bytes=np.zeros(30, dtype=np.int64))
    (change,) = RetentionTracker().update(0, {LAW: unknown})
    assert change.metric == "heldout/law/loss"
    assert change.value == pytest.approx(0.9 * math.log(2))


def test_past_rounds_fed_again_give_the_same_verdicts():
    rounds = list(probe_rounds(seed=4, forgets=AT_ONCE))
    whole = follow(rounds)
    kept = json.loads(json.dumps([(s, {name: scores_to_json(part) for name, part in r.items()}) for s, r in rounds]))
    resumed = RetentionTracker()
    for step, record in kept[:22]:
        resumed.update(step, {name: scores_from_json(part) for name, part in record.items()})
    again = [resumed.update(step, scores) for step, scores in rounds[22:]]
    assert [[c.to_json() for c in changes] for changes in again] == [
        [c.to_json() for c in changes] for changes in whole[22:]
    ]


@pytest.mark.parametrize("rate", [3e-4, 0.0, None])
def test_a_round_is_kept_with_its_learning_rate_and_older_ones_have_none(rate):
    found = Round(100, "heldout", "regular", 1.5, {LAW: constant(1.0)}, learning_rate=rate)
    record = json.loads(json.dumps(found.to_json()))
    assert Round.from_json(record).learning_rate == rate
    del record["learning_rate"]
    assert Round.from_json(record).learning_rate is None


def test_its_memory_does_not_grow_with_the_rounds():
    tracker = RetentionTracker()
    sizes = []
    for i, (step, scores) in enumerate(probe_rounds(260, seed=0, documents=5)):
        tracker.update(step, scores)
        if i in (99, 259):
            sizes.append(len(pickle.dumps(tracker)))
    assert sizes[1] < 1.02 * sizes[0]


def test_a_round_that_is_measured_twice_does_no_harm():
    rounds = list(probe_rounds(seed=2))
    found = follow([pair for pair in rounds for _ in range(2)])
    assert flagged(found) == []
