from dataclasses import replace

import pytest

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.questions import Question, Suite, suite_of


def numbered(count: int) -> list[Question]:
    return [Question(str(number), f"What is number {number}?", (" this", " that"), 0) for number in range(count)]


def test_the_kind_of_a_question_follows_from_what_it_offers():
    assert Question("1", "The sky is", (" blue",), 0).kind == "cloze"
    assert Question("1", "The sky is", (" blue", " green"), 0).kind == "choice"
    assert Question("1", "", ("The cats sleep.", "The cats sleeps."), 0).kind == "pairs"
    assert Question("1", "", ("One.", "Two.", "Three."), 0).kind == "choice"
    assert Question("1", "", (" won.", " won."), 0, contexts=("Ann", "Bob")).kind == "choice"


def test_each_choice_may_have_a_context_of_its_own():
    blank = Question("1", "", (" won.", " won."), 1, contexts=("Ann lost, so Ann", "Ann lost, so Bob"))
    assert blank.texts() == [("Ann lost, so Ann", " won."), ("Ann lost, so Bob", " won.")]


@pytest.mark.parametrize(
    ("choices", "gold", "contexts", "said"),
    [
        ((), 0, None, "needs choices"),
        ((" a", ""), 0, None, "none of them empty"),
        ((" a", " b"), 2, None, "gold 2, but its choices are 0 to 1"),
        ((" a", " b"), -1, None, "gold -1"),
        ((" a", " b"), 0, ("x",), "1 contexts for 2 choices"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_by_its_id(choices, gold, contexts, said):
    with pytest.raises(ProbeError, match=f"^question seven: .*{said}"):
        Question("seven", "Say:", choices, gold, contexts)


def test_chance_is_the_mean_over_questions_with_different_numbers_of_choices():
    questions = [Question("1", "Q", (" a", " b"), 0), Question("2", "Q", (" a", " b", " c", " d"), 3)]
    assert suite_of("mixed", questions).chance == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert suite_of("cloze", [Question("1", "Q", (" a",), 0)]).chance == 0


def test_a_limit_takes_questions_evenly_from_the_whole_file_and_the_same_ones_each_time():
    suite = suite_of("many", numbered(1000))
    chosen = [int(question.id) for question in suite.spread(10).questions]
    assert chosen == [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]
    assert suite.spread(10) == suite.spread(10)
    for limit in range(1, 1000, 37):
        ids = [int(question.id) for question in suite.spread(limit).questions]
        assert len(set(ids)) == limit and ids == sorted(ids)


def test_a_limit_that_is_not_reached_changes_nothing():
    suite = suite_of("few", numbered(3))
    assert suite.spread(None) is suite and suite.spread(3) is suite and suite.spread(100) is suite
    with pytest.raises(ProbeError, match="limit=0; give 1 or more"):
        suite.spread(0)


def test_the_fingerprint_tells_what_is_asked_and_not_how_it_is_called():
    suite = suite_of("a", numbered(5))
    assert suite.fingerprint == replace(suite, name="b", domain="law").fingerprint
    assert suite.fingerprint != suite.spread(4).fingerprint
    assert suite.fingerprint != suite_of("a", [replace(one, gold=1) for one in numbered(5)]).fingerprint


def test_a_constant_answer_can_be_right_more_often_than_chance():
    yes_no = [Question(str(number), f"Is {number} odd?", (" yes", " no"), number % 3 == 0) for number in range(9)]
    assert suite_of("odd", yes_no).best_constant == pytest.approx(6 / 9)
    assert suite_of("other", [*yes_no, Question("x", "Q", (" a", " b"), 0)]).best_constant is None


def test_cloze_questions_do_not_mix_with_others():
    with pytest.raises(ProbeError, match=r"suite mixed, question 2: .*give each kind a suite of its own"):
        suite_of("mixed", [Question("1", "Q", (" a", " b"), 0), Question("2", "Q", (" a",), 0)])


def test_ids_and_names_are_checked():
    with pytest.raises(ProbeError, match="two questions have the id '1'"):
        suite_of("twice", [Question("1", "Q", (" a",), 0), Question("1", "R", (" a",), 0)])
    with pytest.raises(ProbeError, match="suite none has no questions"):
        suite_of("none", [])
    with pytest.raises(ProbeError, match="suite 'a/b'"):
        Suite("a/b", tuple(numbered(1)), "choice", "law")
