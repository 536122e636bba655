from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.detection.errors import UsageError
from benchmarks.retention.__main__ import main
from benchmarks.retention.judging import judge, judge_all, tables_of
from benchmarks.retention.scenarios import EVERY, STEPS, Scenario, planned
from benchmarks.retention.texts import Texts
from benchmarks.retention.training import Rounds, train

DOMAINS = ("law", "code")
STEP = np.arange(EVERY, STEPS + 1, EVERY)


def rounds(*, lost_from: int | None = None, rise: float = 0.0, seed: int = 0) -> Rounds:
    """Domains that are learned, and from a step on one that stands this much higher."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(300, 900, 40)
    nats = {}
    for domain in DOMAINS:
        level = STEP**-0.1 * np.exp(0.003 * rng.standard_normal(len(STEP)))
        if domain == "law" and lost_from is not None:
            first = int((lost_from >= STEP).sum())
            level[first:] = level[first - 1] * (1 + rise)
        nats[domain] = level[:, None] * sizes * np.exp(0.005 * rng.standard_normal((len(STEP), 40)))
    return Rounds(STEP, nats, dict.fromkeys(DOMAINS, sizes))


FORGETS = Scenario("forgets", 0, "constant", lost="law", switch=1000)


def test_a_lasting_rise_is_seen_and_told_in_the_first_round_after_the_switch():
    found = judge(FORGETS, rounds(lost_from=1000, rise=0.08))
    assert STEP[found.seen] == STEP[found.told_at] == 1050
    assert found.rises["law"][found.seen] == pytest.approx(0.08, abs=0.01)
    assert found.false_flags(found.told) == 0


def test_nothing_lost_is_never_told():
    found = judge(FORGETS, rounds())
    assert found.seen is None and found.told_at is None
    assert found.false_flags(found.told) == 0


def test_a_flag_before_the_switch_or_of_another_domain_is_false():
    found = judge(Scenario("early", 0, "constant", lost="law", switch=1500), rounds(lost_from=1000, rise=0.08))
    assert found.false_flags(found.told) == 1
    other = judge(Scenario("other", 0, "constant", lost="code", switch=500), rounds(lost_from=1000, rise=0.08))
    assert other.false_flags(other.told) == 1 and other.told_at is None
    healthy = judge(Scenario("healthy", 0, "constant"), rounds(lost_from=1000, rise=0.08))
    assert healthy.false_flags(healthy.told) == 1


def test_tables_count_delays_and_false_flags():
    names = [scenario.name for scenario in planned(DOMAINS, 0)]
    lost = next(
        scenario for scenario in planned(DOMAINS, 0) if scenario.lost == "law" and scenario.schedule == "constant"
    )
    judged = judge_all({f"a/{names[0]}": rounds(), f"a/{lost.name}": rounds(lost_from=lost.switch, rise=0.08)})
    each, delays, false = tables_of(judged)
    assert each.rows[0][0] == f"a/{lost.name}" and each.rows[0][-1] == "0"
    assert delays.rows == (("a", "1", "1", "0", "0", "0", "0"),)
    assert [row[1] for row in false.rows] == ["1", "1"]
    assert [row[2] for row in false.rows] == ["0 in 0", "0 in 0"]


def test_a_training_of_unknown_name_is_one_line():
    with pytest.raises(UsageError, match="a/mine is no training of this version"):
        judge_all({"a/mine": rounds()})


def test_shares_of_a_batch_add_up_and_the_lost_domain_loses_its_own():
    for scenario in planned(DOMAINS, 0):
        for step in range(0, STEPS, 97):
            assert sum(scenario.shares(DOMAINS, step)) == pytest.approx(1)
        if scenario.lost is not None:
            shares = dict(zip(DOMAINS, scenario.shares(DOMAINS, STEPS), strict=True))
            assert shares[scenario.lost] == pytest.approx(scenario.left)


def test_a_training_is_the_same_each_time_and_its_rounds_are_kept(tmp_path):
    random = np.random.default_rng(0)
    texts = Texts(
        {domain: random.integers(97, 123, 4000).astype(np.uint8) for domain in DOMAINS},
        {domain: random.integers(97, 123, 600).astype(np.uint8) for domain in DOMAINS},
        {domain: np.array([200, 399, 1]) for domain in DOMAINS},
    )
    texts.save(tmp_path / "texts.npz")
    again = Texts.load(tmp_path / "texts.npz")
    assert list(again.train) == list(DOMAINS)
    scenario = Scenario("small", 3, "cosine", rows=2)
    found = [
        train(scenario, texts, torch.device("cpu"), steps=20, layers=1, width=16) for texts in (texts, again)
    ]  # fmt: skip
    # The first byte of a window has nothing before it; a document of one byte has nothing to predict.
    assert found[0].sizes["law"].tolist() == [199, 398, 0]
    assert found[0].nats["law"].shape == (len(found[0].steps), 3)
    assert found[0].nats["law"][0, :2] / found[0].sizes["law"][:2] == pytest.approx(np.log(256), abs=1)
    assert np.array_equal(found[0].nats["law"], found[1].nats["law"])
    found[0].save(tmp_path / "small.npz")
    assert np.array_equal(Rounds.load(tmp_path / "small.npz").nats["code"], found[0].nats["code"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["judge", "{tmp}/empty"], "no trainings in"),
        (["judge", "{tmp}"], "texts.npz is no training"),
        (["train", "{tmp}/no.npz", "{tmp}/out"], "no.npz"),
        (["train", "{tmp}/texts.npz", "{tmp}/out", "--part", "3/2"], "--part 3/2: give K/N with K below N"),
        (["texts"], "the following arguments are required"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, arguments, said):
    Texts({"a": np.zeros(9, np.uint8)}, {"a": np.zeros(9, np.uint8)}, {"a": np.array([9])}).save(tmp_path / "texts.npz")
    assert main([part.format(tmp=tmp_path) for part in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
