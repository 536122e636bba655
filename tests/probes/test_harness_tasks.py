import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.harness_tasks import read_task
from pretrain_monitor.probes.question_files import load_suite
from pretrain_monitor.probes.questions import Question

ROWS = [
    {
        "question": f"What is {n} and {n}?",
        "choices": [str(2 * n), str(n + 7), "neither"],
        "answer": n % 3,
        "letter": "ABC"[n % 3],
        "words": f"one two {n} three",
        "gap": "_ drinks tea.",
        "first": "Ann",
        "second": "Bob",
        "which": str(n % 2 + 1),
    }
    for n in range(5)
]


def task(folder: Path, **settings: object) -> Path:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    path = folder / "mine.yaml"
    settings = {"task": "mine", "data": "rows.jsonl", "output_type": "multiple_choice", **settings}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_text_choices_and_answer_come_from_fields_or_templates(tmp_path):
    path = task(
        tmp_path,
        doc_to_text="Question: {{question}}\nAnswer:",
        doc_to_choice="choices",
        doc_to_target="answer",
        description="Sums.\n\n",
    )
    suite = load_suite("mine", path)
    assert suite.kind == "choice" and len(suite.questions) == 5
    expected = "Sums.\n\nQuestion: What is 2 and 2?\nAnswer:"
    assert suite.questions[2] == Question("3", expected, (" 4", " 9", " neither"), 2)
    same = task(
        tmp_path,
        doc_to_text="{{'Question: ' ~ question ~ '\n'}}Answer:",
        doc_to_choice="{{choices}}",
        doc_to_target="{{choices.index(choices[answer])}}",
        description="Sums.\n\n",
    )
    assert load_suite("mine", same) == suite


def test_letters_listed_in_the_task_are_choices(tmp_path):
    path = task(tmp_path, doc_to_text="{{question}}\n", doc_to_choice=["A", "B", "C"], doc_to_target="letter")
    questions = read_task(path)
    assert questions[1] == Question("2", "What is 1 and 1?\n", (" A", " B", " C"), 1)  # the line break is kept
    named = task(tmp_path, doc_to_text="question", doc_to_choice={"x": "A", "y": "B", "z": "C"}, doc_to_target=2)
    assert {question.gold for question in read_task(named)} == {2}


def test_digits_are_a_number_when_a_template_wrote_them_and_a_text_when_a_field_holds_them(tmp_path):
    settings = {"doc_to_text": "question", "doc_to_choice": ["2", "1", "0"]}
    from_field = read_task(task(tmp_path, **settings, doc_to_target="which"))
    assert [question.gold for question in from_field] == [1, 0, 1, 0, 1]
    from_template = read_task(task(tmp_path, **settings, doc_to_target="{{which}}"))
    assert [question.gold for question in from_template] == [1, 2, 1, 2, 1]


def test_a_numeric_text_means_that_the_choices_are_beginnings(tmp_path):
    path = task(
        tmp_path,
        doc_to_text="{{which|int - 1}}",
        doc_to_choice="{{[gap|replace('_', first)|replace(' drinks tea.', ''), second]}}",
        doc_to_target="{{gap[2:]}}",
        target_delimiter=" ",
    )
    first, second = read_task(path)[:2]
    assert first == Question("1", "", (" drinks tea.", " drinks tea."), 0, ("Ann", "Bob"))
    assert second.gold == 1


def test_a_cloze_target_gets_no_delimiter(tmp_path):
    path = task(
        tmp_path,
        output_type="loglikelihood",
        doc_to_text="{{words.split(' ')[:-1]|join(' ')}}",
        doc_to_target="{{' ' + words.split(' ')[-1]}}",
    )
    suite = load_suite("mine", path)
    assert suite.kind == "cloze"
    assert suite.questions[4] == Question("5", "one two 4", (" three",), 0)


def test_whole_sentences_after_an_empty_text_are_pairs(tmp_path):
    path = task(tmp_path, doc_to_text="", doc_to_choice="{{[words, words|reverse]}}", doc_to_target=0)
    assert load_suite("mine", path).kind == "pairs"


def test_the_same_questions_come_from_all_kinds_of_files(tmp_path):
    settings = {"doc_to_text": "question", "doc_to_choice": "{{[first, second]}}", "doc_to_target": "second"}
    expected = read_task(task(tmp_path, **settings))
    assert expected[0].choices == (" Ann", " Bob")
    (tmp_path / "rows.json").write_text(json.dumps(ROWS, indent=1), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ROWS[0])
        table.writeheader()
        table.writerows(ROWS)
    for name in ("rows.json", "rows.parquet", "rows.csv"):
        assert read_task(task(tmp_path, **settings, data=name)) == expected
        format = name.partition(".")[2]
        there = {"data": None, "dataset_path": format, "dataset_kwargs": {"data_files": name}}
        assert read_task(task(tmp_path, **settings, **there)) == expected
    assert read_task(task(tmp_path, **settings, data=["rows.json", "rows.jsonl"])) == [
        Question(str(number), one.context, one.choices, one.gold) for number, one in enumerate(expected * 2, start=1)
    ]


def test_the_test_split_is_asked_before_the_validation_split(tmp_path):
    settings = {"doc_to_text": "question", "doc_to_choice": "choices", "doc_to_target": "answer"}
    (tmp_path / "few.jsonl").write_text(json.dumps(ROWS[4]), encoding="utf-8")
    data = {"train": "none.jsonl", "dev": "rows.jsonl", "held": "few.jsonl"}
    assert len(read_task(task(tmp_path, **settings, data=data, validation_split="dev"))) == 5
    assert len(read_task(task(tmp_path, **settings, data=data, validation_split="dev", test_split="held"))) == 1
    with pytest.raises(ProbeError, match="no data file for the split test; there are dev, held, train"):
        read_task(task(tmp_path, **settings, data=data, test_split="test"))


def test_code_in_a_task_is_named_and_never_run(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: mine\nprocess_docs: !function utils.process\n", encoding="utf-8")
    with pytest.raises(ProbeError, match="line 2 has the tag !function: code named in a task is not run; say the same"):
        read_task(path)
    path.write_text("task: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(ProbeError, match="is not YAML"):
        read_task(path)


@pytest.mark.parametrize(
    "template",
    ["{{ question.__class__.__mro__ }}", "{{ ''.__class__.__subclasses__() }}", "{% set x = choices.append('d') %}"],
)
def test_a_template_reaches_nothing_but_the_document(tmp_path, template):
    path = task(tmp_path, doc_to_text=template, doc_to_choice="choices", doc_to_target="answer")
    with pytest.raises(ProbeError, match=r"mine\.yaml, question 1: template .* unsafe"):
        read_task(path)


GOOD = {"doc_to_text": "question", "doc_to_choice": "choices", "doc_to_target": "answer"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"include": "base.yaml"}, r"include not supported \(put what it includes into the file itself\); read are"),
        ({"process_results": "x"}, "process_results not supported; read are"),
        ({"output_type": "generate_until"}, "output_type generate_until is not supported; use multiple_choice or"),
        ({"output_type": "loglikelihood"}, "doc_to_choice belongs to output_type multiple_choice"),
        ({"num_fewshot": 5}, "num_fewshot draws examples, which is not supported"),
        ({"doc_to_target": None}, "doc_to_target missing; output_type multiple_choice needs"),
        (
            {"doc_to_text": "{{quest}}"},
            "question 1: template '{{quest}}': 'quest' is undefined; fields: question, choi",
        ),
        ({"doc_to_text": "{{question"}, "question 1: template '{{question': "),
        ({"doc_to_text": "{{answer / 0}}"}, "question 1: template .*: ZeroDivisionError"),
        ({"doc_to_choice": "question"}, "question 1: doc_to_choice gives 'What is 0 and 0"),
        ({"doc_to_target": "{{answer + 3}}"}, "question 1: the answer 3 is none of its 3 choices"),
        ({"doc_to_target": "{{[answer, 1]}}"}, "question 1: the answer .* is none of its 3 choices"),
        ({"doc_to_target": "choices"}, "question 1 has 3 right answers: one is supported"),
        ({"doc_to_text": "choices"}, r"question 1: doc_to_text gives \['0', '7', 'neither'\]; one text is supported"),
        ({"doc_to_text": "questoin"}, "doc_to_text questoin is no field of its data; fields: answer, choices, first"),
        (
            {"output_type": "loglikelihood", "doc_to_choice": None, "doc_to_target": "word"},
            "doc_to_target word is no field of its data; fields: answer, choices",
        ),
        ({"doc_to_choice": [False, True]}, r"doc_to_choice gives \[False, True\]: YAML reads yes, no, on and off so"),
        ({"doc_to_choice": "{{[first, none]}}"}, "question 1: doc_to_choice gives None; one text is supported"),
        ({"doc_to_text": "{{question|regex_replace('(', '')}}"}, "question 1: template .*: missing \\)"),
        ({"test_split": "test[:2]"}, r"the split test\[:2\] is a part of the data; save that part, and name its file"),
        ({"data": "none.jsonl"}, "none.jsonl cannot be read: No such file"),
        ({"data": "none.csv"}, "none.csv cannot be read as csv: No such file"),
        ({"data": 3}, "data files are given as a path, a list of paths, or a path for each split"),
        (
            {"data": None, "dataset_path": "some/hub"},
            "dataset_path some/hub would be downloaded, which is not done; save",
        ),
        ({"data": None, "dataset_path": "json"}, "dataset_kwargs must hold data_files and nothing else"),
    ],
)
def test_what_is_not_supported_is_said_in_one_line(tmp_path, settings, said):
    path = task(tmp_path, **{**GOOD, **settings})
    with pytest.raises(ProbeError, match=said) as raised:
        read_task(path)
    assert "\n" not in str(raised.value)


def test_a_field_that_a_question_lacks_is_told_and_not_asked_by_its_name(tmp_path):
    path = task(tmp_path, **GOOD, data="few.jsonl")
    lacking = {"choices": ["a", "b"], "answer": 0}
    for other in (lacking, {**lacking, "question": None}):
        (tmp_path / "few.jsonl").write_text(f"{json.dumps(ROWS[0])}\n{json.dumps(other)}\n", encoding="utf-8")
        with pytest.raises(ProbeError, match="question 2 has nothing in its field question: fill it in, or leave"):
            read_task(path)


def test_half_of_a_surrogate_pair_is_told_with_its_question(tmp_path):
    (tmp_path / "odd.jsonl").write_text(r'{"question": "\ud800", "choices": ["a", "b"], "answer": 0}', encoding="utf-8")
    with pytest.raises(ProbeError, match=r"mine\.yaml, question 1: half of a surrogate pair"):
        read_task(task(tmp_path, **GOOD, data="odd.jsonl"))


def test_a_column_of_numbers_in_a_csv_file_names_choices_by_number(tmp_path):
    settings = {"data": "odd.csv", "doc_to_choice": ["one", "two"], "doc_to_target": "end"}
    (tmp_path / "odd.csv").write_text("which,code,end\n1,007,end\n0,12,end\n", encoding="utf-8")
    first, second = read_task(task(tmp_path, **settings, doc_to_text="which"))
    assert (first.contexts, first.gold, second.gold) == (("one", "two"), 1, 0)
    settings["doc_to_target"] = "which"
    # Not a number of its own: it would lose its zeros.
    assert read_task(task(tmp_path, **settings, doc_to_text="code"))[0] == Question("1", "007", (" one", " two"), 1)


def test_data_without_fields_or_without_rows_are_refused(tmp_path):
    path = task(tmp_path, **GOOD, data="odd.json")
    (tmp_path / "odd.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(ProbeError, match=r"odd\.json is not a list of records with named fields"):
        read_task(path)
    (tmp_path / "odd.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ProbeError, match="its data file has no questions"):
        read_task(path)
    path = task(tmp_path, **GOOD, data="odd.csv")
    (tmp_path / "odd.csv").write_text("question,answer\na,b,c\n", encoding="utf-8")
    with pytest.raises(ProbeError, match=r"odd\.csv record 1 has not as many fields as the heading names"):
        read_task(path)
    (tmp_path / "odd.csv").write_text("question,question\na,b\n", encoding="utf-8")
    with pytest.raises(ProbeError, match=r"odd\.csv has two columns named 'question'; rename one"):
        read_task(path)
    (tmp_path / "odd.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ProbeError, match=r"odd\.json cannot be read as json: maximum recursion"):
        read_task(task(tmp_path, **GOOD, data="odd.json"))
