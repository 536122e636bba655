import itertools
import math

import numpy as np
import pytest

from pretrain_monitor.probes.answers import bits_per_byte, guessing_p_value, summarise, wilson_interval
from pretrain_monitor.probes.questions import Question, suite_of

LN2 = math.log(2)


def suite_with(*questions: tuple[tuple[str, ...], int]):
    return suite_of("s", [Question(str(n), "Q", choices, gold) for n, (choices, gold) in enumerate(questions)])


def summary(suite, loglikelihoods, tokens=None, bytes=None, greedy=None, **more):
    count = len(loglikelihoods)
    return summarise(
        suite,
        loglikelihoods,
        np.ones(count) if tokens is None else tokens,
        np.ones(count) if bytes is None else bytes,
        np.zeros(count, dtype=bool) if greedy is None else greedy,
        **more,
    )


def test_each_accuracy_divides_by_its_own_length():
    # By hand: -4 < -5 < -6 raw; per token -4/1, -5/5, -6/2; per byte (without the space) -4/1, -5/2, -6/12.
    suite = suite_with(((" a", " bb", " cccccccccccc"), 0), ((" a", " bb", " cccccccccccc"), 1))
    loglikelihoods = [-4, -5, -6] * 2
    metrics, _ = summary(suite, loglikelihoods, tokens=[1, 5, 2] * 2)
    assert metrics["task/s/accuracy"] == 0.5  # picks the first
    assert metrics["task/s/accuracy_per_token"] == 0.5  # picks the second
    assert metrics["task/s/accuracy_per_byte"] == 0  # picks the third
    assert metrics["task/s/chance"] == pytest.approx(1 / 3)
    assert metrics["task/s/questions"] == 2


def test_a_choice_is_as_long_as_its_bytes_without_the_space_before_it():
    # "abc" has 3 bytes and "é d" 4: -1.07 against -1.05. With the spaces it would be -.80 against -.84.
    metrics, _ = summary(suite_with(((" abc", " é d"), 1)), [-3.2, -4.2], bytes=[4, 5])
    assert metrics["task/s/accuracy_per_byte"] == 1


def test_of_equally_likely_choices_the_first_is_picked():
    metrics, scores = summary(suite_with(((" a", " b"), 0), ((" a", " b"), 1)), [-1, -1, -1, -1])
    assert scores.right.tolist() == [1, 0]
    assert metrics["task/s/accuracy"] == 0.5


def test_questions_may_have_different_numbers_of_choices():
    suite = suite_with(((" a", " b"), 1), ((" a", " b", " c", " d"), 3), ((" a", " b", " c"), 0))
    metrics, scores = summary(suite, [-2, -1, -4, -3, -2, -1, -2, -1, -3])
    assert scores.right.tolist() == [1, 1, 0]
    assert metrics["task/s/chance"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 3) / 3)


def test_a_cloze_question_is_right_when_greedy_decoding_gives_it():
    suite = suite_with(((" a",), 0), ((" b",), 0), ((" c",), 0))
    metrics, scores = summary(suite, [-1.0, -2.0, -3.0], greedy=[True, False, True])
    assert scores.right.tolist() == [1, 0, 1]
    assert metrics["task/s/accuracy"] == pytest.approx(2 / 3)
    assert metrics["task/s/chance"] == 0
    assert {"task/s/accuracy_per_token", "task/s/accuracy_per_byte", "task/s/chance_p"}.isdisjoint(metrics)


def test_bits_per_byte_are_all_nats_over_all_bytes_of_the_right_answers():
    suite = suite_with(((" a", " b"), 0), ((" a", " b"), 1), ((" a", " b"), 0))
    nats, sizes = [3.0, 9.0, 9.0, 1.0, 5.0, 9.0], [2, 9, 9, 4, 10, 9]
    metrics, scores = summary(suite, [-one for one in nats], bytes=sizes, tokens=[1, 2, 3, 4, 5, 6])
    assert metrics["task/s/gold_bits_per_byte"] == pytest.approx((3 + 1 + 5) / (2 + 4 + 10) / LN2, rel=1e-15)
    assert scores.nats.tolist() == [3, 1, 5]
    assert scores.bytes.tolist() == [2, 4, 10]
    assert scores.tokens.tolist() == [1, 4, 5]


def test_the_error_of_bits_per_byte_is_the_spread_over_samples_of_questions():
    random = np.random.default_rng(0)

    def sample() -> tuple[float, float]:
        sizes = random.integers(2, 40, size=300)
        bits, error = bits_per_byte(sizes * random.gamma(4, 0.2, size=300), sizes)
        return bits, error

    drawn = np.array([sample() for _ in range(2000)])
    assert drawn[:, 1].mean() == pytest.approx(drawn[:, 0].std(), rel=0.05)


def test_one_question_has_no_error():
    assert bits_per_byte(np.array([LN2]), np.array([2])) == (0.5, None)
    metrics, _ = summary(suite_with(((" a", " b"), 0)), [-1, -2])
    assert "task/s/gold_bits_per_byte_se" not in metrics


@pytest.mark.parametrize(("right", "count"), [(0, 10), (1, 10), (37, 100), (99, 100), (7, 7), (1, 1), (0, 1)])
def test_the_interval_holds_the_shares_from_which_the_result_is_within_two_sided_95_percent(right, count):
    lower, upper = wilson_interval(right, count)
    assert 0 <= lower <= right / count <= upper <= 1
    for bound in (lower, upper):
        if bound not in (0.0, 1.0):
            distance = abs(right / count - bound) / math.sqrt(bound * (1 - bound) / count)
            assert distance == pytest.approx(1.959963984540054, rel=1e-9)


def test_the_interval_covers_the_truth_in_about_95_of_100_samples():
    random = np.random.default_rng(1)
    drawn = random.binomial(100, 0.3, size=5000)
    inside = [lower <= 0.3 <= upper for lower, upper in (wilson_interval(int(right), 100) for right in drawn)]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_the_p_value_of_guessing_is_exact_for_mixed_numbers_of_choices():
    counts = np.array([2, 3, 4, 4, 5, 2, 3])
    for right in range(len(counts) + 1):
        exact = 0.0
        for outcome in itertools.product([0, 1], repeat=len(counts)):
            if sum(outcome) >= right:
                exact += math.prod(1 / n if hit else 1 - 1 / n for hit, n in zip(outcome, counts, strict=True))
        assert guessing_p_value(right, counts) == pytest.approx(exact, rel=1e-12)


def test_the_p_value_stays_exact_for_many_questions_and_far_tails():
    # The largest term of the sum, and a geometric bound on the rest of it.
    log_term = (
        math.lgamma(10_001)
        - math.lgamma(4_001)
        - math.lgamma(6_001)
        + 4_000 * math.log(1 / 4)
        + 6_000 * math.log(3 / 4)
    )
    p = guessing_p_value(4_000, np.full(10_000, 4))
    assert log_term <= math.log(p) <= log_term - math.log(1 - 6_000 / 4_001 / 3)
    assert guessing_p_value(2_500, np.full(10_000, 4)) == pytest.approx(0.5, abs=0.01)


def test_a_model_that_guesses_is_rarely_above_chance():
    random = np.random.default_rng(2)
    questions = [((" a", " b", " c", " d")[: 2 + n % 3], n % 2) for n in range(60)]
    suite = suite_with(*questions)
    choices = sum(len(one) for one, _ in questions)
    values = [summary(suite, -random.exponential(size=choices))[0]["task/s/chance_p"] for _ in range(400)]
    assert np.mean(np.array(values) < 0.05) <= 0.08
    assert np.mean(np.array(values) < 0.5) >= 0.35  # and not by being large always


def test_nan_counts_as_wrong_and_is_told():
    suite = suite_with(((" a", " b"), 0), ((" a", " b"), 0), ((" a", " b"), 0))
    metrics, scores = summary(suite, [-1, math.nan, math.nan, -1, -2, -3], bytes=[4, 9, 4, 9, 4, 9])
    assert scores.right.tolist() == [0, 0, 1]
    assert metrics["task/s/accuracy"] == pytest.approx(1 / 3)
    # The first question's right answer has a number; only the second has none.
    assert metrics["task/s/gold_bits_per_byte"] == pytest.approx((1 + 2) / (4 + 4) / LN2)
    assert metrics.notes[0] == "s: 2 of 3 questions got NaN and count as wrong"
    assert np.isnan(scores.nats[1])


def test_all_nan_gives_no_bits_per_byte_rather_than_a_made_up_number():
    metrics, _ = summary(suite_with(((" a", " b"), 0)), [math.nan, math.nan])
    assert "task/s/gold_bits_per_byte" not in metrics
    assert metrics["task/s/accuracy"] == 0


def test_impossible_choices_are_never_picked():
    metrics, _ = summary(suite_with(((" a", " b"), 1)), [-math.inf, -700])
    assert metrics["task/s/accuracy"] == 1


def test_an_answer_that_suits_most_questions_is_told():
    mostly_yes = suite_with(*[((" yes", " no"), n % 4 == 0) for n in range(40)])
    assert summary(mostly_yes, -np.ones(80))[0].notes == (
        "s: always giving the same answer is right in 75%, chance is 50%",
    )
    even = suite_with(*[((" yes", " no"), n % 2) for n in range(40)])
    assert summary(even, -np.ones(80))[0].notes == ()


def test_rounds_can_be_paired_only_when_the_questions_and_their_tokens_are_the_same():
    suite = suite_with(((" a", " b"), 0), ((" a", " b"), 1))
    keys = [summary(suite, -np.random.default_rng(seed).random(4), tokens=[1, 2, 3, 4])[1].key for seed in (0, 1)]
    assert keys[0] == keys[1]
    others = {
        summary(suite, -np.ones(4), tokens=[1, 2, 3, 5])[1].key,
        summary(suite, -np.ones(4), tokens=[1, 2, 3, 4], key="2048 tokens")[1].key,
        summary(suite_with(((" a", " b"), 0), ((" a", " c"), 1)), -np.ones(4), tokens=[1, 2, 3, 4])[1].key,
    }
    assert len(others) == 3 and keys[0] not in others
