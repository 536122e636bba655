import gzip
import json
from pathlib import Path

import pytest

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.question_files import gold_of, load_suite
from pretrain_monitor.probes.questions import Question, suite_of


def written(path: Path, *lines: object) -> Path:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_a_question_is_framed_and_a_context_is_read_as_it_stands(tmp_path):
    file = written(
        tmp_path / "facts.jsonl",
        {"question": "What is ice?", "choices": ["water", "stone"], "answer": 0},
        {"context": "Ice is made of", "choices": ["stone", "water"], "gold": "water"},
        {"prompt": "Ice is ", "choices": ["wet", "cold", "hot"], "answer": "b"},
    )
    suite = load_suite("facts", file)
    assert suite.kind == "choice" and suite.domain == "facts"
    first, second, third = suite.questions
    assert first == Question("1", "Question: What is ice?\nAnswer:", (" water", " stone"), 0)
    assert second == Question("2", "Ice is made of", (" stone", " water"), 1)
    assert third == Question("3", "Ice is ", ("wet", "cold", "hot"), 1)  # the context brings the space


def test_the_same_questions_come_from_a_packed_file_and_from_a_list(tmp_path):
    lines = [{"id": f"q{number}", "text": f"{number} and one is", "target": str(number + 1)} for number in range(50)]
    plain = load_suite("sums", written(tmp_path / "sums.jsonl", *lines))
    assert plain.kind == "cloze"
    assert plain.questions[7] == Question("q7", "7 and one is", (" 8",), 0)
    assert load_suite("sums", str(written(tmp_path / "sums.jsonl.gz", *lines))) == plain
    assert load_suite("sums", lines) == plain
    assert load_suite("sums", list(plain.questions)) == plain
    assert [one.id for one in load_suite("sums", lines, limit=5).questions] == ["q5", "q15", "q25", "q35", "q45"]


def test_a_suite_that_exists_gets_another_name_and_limit():
    suite = suite_of("old", [Question(str(number), "Say", (f" {number}",), 0) for number in range(9)], "speech")
    renamed = load_suite("new", suite, limit=3)
    assert (renamed.name, renamed.domain, len(renamed.questions)) == ("new", "speech", 3)
    assert load_suite("new", suite, domain="other").domain == "other"


def test_good_sentences_do_not_always_come_first():
    lines = [{"good": f"The {n} cats sleep.", "bad": f"The {n} cats sleeps."} for n in range(3)]
    lines.append({"sentence_good": "She sees him.", "sentence_bad": "She sees he."})
    suite = load_suite("grammar", lines)
    assert suite.kind == "pairs" and suite.chance == 0.5
    good = [question.choices[question.gold] for question in suite.questions]
    assert good == [*(f"The {n} cats sleep." for n in range(3)), "She sees him."]
    assert {question.context for question in suite.questions} == {""}


@pytest.mark.parametrize("limit", [None, 100, 50, 25])
def test_about_as_many_good_sentences_come_first_as_second_whichever_are_asked(limit):
    suite = load_suite("many", [{"good": f"The {n} cats.", "bad": f"The {n} cat."} for n in range(200)], limit=limit)
    golds = [question.gold for question in suite.questions]
    assert 0.3 < sum(golds) / len(golds) < 0.7


def test_white_space_is_added_only_where_there_is_none_and_not_where_words_are_not_parted():
    given = {"context": "Say", "choices": [" a", "b", "\nc"], "answer": 0}
    assert load_suite("s", [given]).questions[0].choices == (" a", " b", "\nc")
    assert load_suite("s", [given], delimiter="").questions[0].choices == (" a", "b", "\nc")
    assert load_suite("s", [{"context": "", "target": "b"}]).questions[0].choices == ("b",)


@pytest.mark.parametrize(
    ("answer", "choices", "gold"),
    [
        (1, ["x", "y"], 1),
        ("y", ["x", "y"], 1),
        ("B", ["x", "y"], 1),
        ("b", ["x", "y"], 1),
        ("1", ["x", "y"], 1),
        ("B", ["C", "B", "A"], 1),
        ("2", ["1", "2", "3"], 1),
        (2, ["1", "2", "3"], 2),
    ],
)
def test_an_answer_is_a_number_a_letter_or_the_text_of_a_choice(answer, choices, gold):
    assert gold_of(answer, choices, "here") == gold


@pytest.mark.parametrize("answer", [2, -1, "C", "neither", "", 0.5, True, None, ["x"], "9"])
def test_an_answer_that_is_no_choice_is_named(answer):
    with pytest.raises(ProbeError, match=r"^file line 4: the answer .* is none of its 2 choices"):
        gold_of(answer, ["x", "y"], "file line 4")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"stem": "Q", "options": ["a", "b"]}, r"has the keys stem, options: a question is one of \{\"question\""),
        ({}, "has the keys none"),
        (["a"], "is a list: a question is one of"),
        ({"choices": ["a", "b"], "answer": 0}, "has no text to ask about: give one of question, context, prompt"),
        ({"question": "Q", "context": "P", "choices": ["a", "b"], "answer": 0}, "has question and context: give one"),
        ({"question": "Q", "choices": ["a"], "answer": 0}, "choices is a list of two or more texts"),
        ({"question": "Q", "choices": ["a", 2], "answer": 0}, "choices is a list of two or more texts"),
        ({"question": "Q", "choices": ["a", " "], "answer": 0}, "a choice is blank"),
        ({"question": 3, "choices": ["a", "b"], "answer": 0}, "question is 3; give a text"),
        ({"text": "T", "target": ""}, "target is ''; give a text"),
        ({"good": "G", "bad": None}, "bad is None; give a text"),
        (
            {"context": "C", "good": "G", "bad": "B"},
            "has context beside good and bad, which are whole texts: join them",
        ),
        ({"question": "Q", "choices": ["a", "b"], "target": "b"}, "has choices and target: name the right choice as"),
    ],
)
def test_a_line_that_is_no_question_is_named_with_its_file_and_number(tmp_path, line, said):
    file = written(tmp_path / "mine.jsonl", {"text": "T", "target": "t"}, line)
    with pytest.raises(ProbeError, match=rf"mine\.jsonl line 2:? {said}") as raised:
        load_suite("mine", file)
    assert "\n" not in str(raised.value)


def test_blank_lines_and_a_byte_order_mark_are_skipped_and_lines_still_counted(tmp_path):
    file = tmp_path / "marked.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + b'{"text": "T", "target": "t"}\n\n{"text": "U", "target": "u"}\n')
    assert [question.id for question in load_suite("marked", file).questions] == ["1", "3"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.jsonl", b'{"text": "T"\n', "bad.jsonl line 1 is not JSON"),
        ("bad.jsonl", b'{"text": "T", "target": "\xe9t\xe9"}\n', "bad.jsonl line 1 is not UTF-8"),
        ("bad.jsonl", b'{"id": ' + b"9" * 5000 + b"}", "bad.jsonl line 1 is not JSON: Exceeds the limit"),
        ("bad.jsonl", b"[" * 100_000, "bad.jsonl line 1 is not JSON: maximum recursion"),
        ("bad.jsonl", b"\n\n", "bad.jsonl has no questions"),
        ("bad.jsonl.gz", b'{"text": "T", "target": "t"}\n', "bad.jsonl.gz cannot be read: Not a gzipped file"),
        ("bad.jsonl.gz", gzip.compress(b"x" * 999, mtime=0)[:-5], "bad.jsonl.gz cannot be read"),
        ("bad.txt", b"", "give a file ending in .jsonl, .jsonl.gz or .yaml, or olmo:<task>"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProbeError, match=said):
        load_suite("bad", tmp_path / name)


def test_what_is_not_there_or_not_questions_is_refused(tmp_path):
    with pytest.raises(ProbeError, match="cannot be read: No such file"):
        load_suite("none", tmp_path / "none.jsonl")
    with pytest.raises(ProbeError, match="suite none of type int: give a list of questions"):
        load_suite("none", 3)
    with pytest.raises(ProbeError, match="suite none, question 2 has the keys a"):
        load_suite("none", [{"text": "T", "target": "t"}, {"a": 1}])
    with pytest.raises(ProbeError, match="suite none has no questions"):
        load_suite("none", [])


@pytest.mark.parametrize(
    "line", [{"question": "\ud800", "choices": ["a", "b"]}, {"question": "q", "choices": ["a", "\ud800"]}]
)
def test_half_of_a_surrogate_pair_is_told_with_its_question(line):
    with pytest.raises(ProbeError, match="question 1: half of a surrogate pair"):
        load_suite("s", [{**line, "answer": 0}])
