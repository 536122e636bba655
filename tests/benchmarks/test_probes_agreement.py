"""How answers of lm-evaluation-harness are judged and compared, with likelihoods known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.probes.__main__ import some_texts
from benchmarks.probes.agreement import answers, bits, bits_per_byte, likelihoods, pairs_of
from benchmarks.probes.figures import Figure, table_of
from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.questions import Question, suite_of

CHOICES = suite_of("c", [Question("1", "ab", (" c", " d"), 1), Question("2", "ef", (" g", " h", " i"), 0)])
CLOZE = suite_of("t", [Question("1", "ab", (" c",), 0), Question("2", "de", (" f",), 0)])


def test_the_likeliest_choice_is_the_answer_and_the_right_one_has_the_cost():
    found = answers(CHOICES, [(-2.0, True), (-1.0, False), (-5.0, False), (-3.0, False), (-4.0, False)])
    assert found.right.tolist() == [True, False]
    assert found.nats.tolist() == [1.0, 5.0]


def test_of_two_choices_that_are_equally_likely_the_first_is_the_answer():
    found = answers(CHOICES, [(-1.0, False), (-1.0, False), (-3.0, False), (-3.0, False), (-4.0, False)])
    assert found.right.tolist() == [False, True]


def test_a_single_continuation_is_right_when_decoding_gives_it():
    found = answers(CLOZE, [(-9.0, True), (-0.1, False)])
    assert found.right.tolist() == [True, False]
    assert found.nats.tolist() == [9.0, 0.1]


def test_the_harness_is_asked_for_every_choice_in_order():
    assert pairs_of(CHOICES) == [("ab", " c"), ("ab", " d"), ("ef", " g"), ("ef", " h"), ("ef", " i")]


def test_bits_per_byte_are_all_nats_by_all_bytes():
    assert bits_per_byte(np.array([2.0, 6.0]) * math.log(2), [1, 3]) == pytest.approx(2.0)


def test_a_document_may_differ_by_a_thousandth_of_a_nat_and_a_bias_is_told_by_token():
    scores = Scores(np.array([5.0, 7.0]), np.array([10, 30]), np.array([9, 9]), "")
    plain, exact = likelihoods("x", scores, np.array([5.0, 6.996]), np.array([5.0005, 7.0]))
    assert (plain.is_met, exact.is_met) == (False, True)
    assert plain.compared == "largest difference 4.0e-03; -1.0e-04 a token"
    assert (plain.here, plain.beside) == ("12.000", "11.996")


@pytest.mark.parametrize(("theirs", "is_met"), [(1.00004, True), (1.00006, False)])
def test_four_digits_of_bits_per_byte_have_to_agree(theirs, is_met):
    assert bits("x", 1.0, theirs).is_met is is_met


def test_all_figures_stand_in_one_table_and_one_without_a_limit_is_neither_met_nor_missed():
    figures = [
        Figure("a", "1", "2", "half", ">= .4", True),
        Figure("b", "3", "", ""),
        Figure("c", "", "", "", "", False),
    ]
    written = table_of("Probes", figures, "a note").markdown().splitlines()
    assert written[2] == "| figure | probe | beside | compared | asked | met |"
    assert [line.split(" | ")[-1] for line in written[4:7]] == ["yes |", " |", "no |"]
    assert written[-1] == "a note"


def test_texts_are_spread_over_a_domain_and_long_ones_left_out():
    texts = [f"text {number}" for number in range(10)] + ["long " * 10]
    assert some_texts("d", texts, 2, longest=20) == ["text 2", "text 7"]
    assert len(some_texts("d", texts, 99, longest=20)) == 10
