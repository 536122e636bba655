from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from example_results import BYTES, course, model, task_probe, text_probe, token_probe
from rich.console import Console

from pretrain_monitor.probes.report import wording
from pretrain_monitor.probes.report.sheets import task_sheet, text_sheet
from pretrain_monitor.probes.report.table import tables
from pretrain_monitor.probes.report.tokenizing import tokenizer_sheet
from pretrain_monitor.probes.results import ModelResult, ProbeOutcome, Results


def printed(results: Results, reference: ModelResult | None = None, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    for part in tables(results, reference):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_one_model_is_told_with_its_intervals_and_what_it_took():
    out = printed(Results([model("gpt", text_probe(1, law=1.234), step=500)]))
    assert "gpt  step 500; 1,000,000 parameters, float32; 256 tokens known; tokenizer gpt" in out
    assert "heldout: 2.0 s, 500 tokens/s, 2.00 GB at most" in out
    sheet = text_sheet(Results([model("gpt", text_probe(1, law=1.234))]), None)
    assert sheet is not None
    assert list(sheet.titles) == ["text", "bits per byte", "± 95 %", "perplexity"]
    assert sheet.rows[0][:2] == ["law", "1.234"]


def test_a_course_is_told_by_first_best_and_last_and_what_was_lost_is_marked():
    results = course({"law": 2.0}, {"law": 1.8}, {"law": 1.7}, {"law": 1.65}, {"law": 1.95})
    sheet = text_sheet(results, None)
    assert sheet is not None
    assert list(sheet.titles) == ["bits per byte", "first (100)", "best", "last (500)", "last against best"]
    name, first, best, last, change = sheet.rows[0]
    assert (name, first, best, last) == ("law", "2.000", "1.650 (400)", "1.950")
    assert change.startswith("+0.3000 (+0.2")
    assert change.endswith("), worse")
    assert sheet.marked == {0}
    assert "5 models, checkpoint-100 to checkpoint-500" in printed(results)


def test_a_few_models_that_are_no_course_have_a_column_each():
    results = Results(
        [
            model(name, text_probe(number, law=level))
            for number, (name, level) in enumerate((("a", 1.5), ("b", 1.4), ("c", 1.3)))
        ]
    )
    sheet = text_sheet(results, None)
    assert sheet is not None
    assert list(sheet.rows[0]) == ["law", "1.500", "1.400", "1.300", "is the best"]


def test_the_gap_to_a_reference_says_whether_documents_could_be_paired():
    reference = model("other", text_probe(7, law=1.5))
    out = printed(Results([model("a", text_probe(1, law=1.6))]), reference)
    assert "+0.1000 (" in out
    assert "not paired" not in out
    assert "than other; below 0 it is better" in " ".join(out.split())


def notes_on(reference: ModelResult, *models: ModelResult) -> list[str]:
    found = wording.notes(Results(list(models)), reference)
    return found[found.index(next(note for note in found if note.startswith("gap to reference"))) + 1 :]


def changed(probe: ProbeOutcome, name: str, **facts: object) -> ProbeOutcome:
    return replace(probe, scores={**probe.scores, name: replace(probe.scores[name], **facts)})  # type: ignore[arg-type]


def test_what_a_reference_has_not_or_not_quite_is_said_of_each_domain_and_task():
    texts, task = text_probe(1, law=1.6, code=2.0, prose=1.0), task_probe("quiz", 0.5, 1.25, 1)
    task = changed(task, "task/quiz", right=np.zeros(len(BYTES)))
    mine = model("a", texts, task)
    assert notes_on(model("other", texts, task), mine) == []

    reference = changed(text_probe(7, law=1.5, prose=1.1), "heldout/law", key="others", bytes=BYTES + 1)
    asked = changed(task, "task/quiz", key="shorter")
    assert notes_on(model("other", reference, asked), mine) == [
        "not paired: the reference is not known to have read the same, so the gap is that of two samples (heldout/law)",
        "no gap: the reference was not measured on this (heldout/code)",
        "the reference was asked in another way: by context length, prefix, tokenizer or questions (task/quiz)",
    ]
    assert "not paired" in printed(Results([mine]), model("other", reference))
    # Other tokens are those of another tokenizer, which bits per byte are made for.
    asked = changed(asked, "task/quiz", tokens=BYTES)
    assert notes_on(model("other", texts, asked), mine) == []


def test_a_gap_that_there_is_no_unit_for_is_told_and_a_failure_of_the_last_model_hides_nothing():
    mine = model("a", text_probe(1, has_bytes=False, law=1.6))
    other = changed(text_probe(7, has_bytes=False, law=1.5), "heldout/law", key="other windows")
    failed = model("b", task_probe("quiz", 0.5, 1.25, 1))
    assert notes_on(model("other", other, *failed.probes), mine, failed) == [
        "no gap: the reference has other documents, tokens or windows, and bytes are unknown (heldout/law)"
    ]


def test_tasks_are_told_beside_chance():
    sheet = task_sheet(Results([model("a", task_probe("quiz", 0.5, 1.25, 1))]), None)
    assert sheet is not None
    assert list(sheet.titles) == ["task", "accuracy", "95 %", "chance", "bits/byte", "n"]
    assert list(sheet.rows[0]) == ["quiz", "0.500", "0.400-0.600", "0.250", "1.250", "30"]


def test_copies_of_a_tokenizer_are_one_row_and_a_second_one_another():
    results = Results(
        [model("a", token_probe(law=4.0)), model("b", token_probe(law=4.0)), model("c", token_probe(law=3.0))]
    )
    sheet = tokenizer_sheet(results)
    assert sheet is not None
    assert [list(row) for row in sheet.rows] == [["law", "a", "4.000"], ["law", "c", "3.000"]]
    alone = tokenizer_sheet(Results(results.models[:2]))
    assert alone is not None
    assert list(alone.titles) == ["text", "bytes/token"]


def test_a_probe_of_another_name_than_its_metrics_and_a_second_one_on_the_same_text_have_rows_of_their_own():
    first = replace(token_probe(law=4.0), name="words")
    second = replace(token_probe(law=3.0), name="letters")
    sheet = tokenizer_sheet(Results([model("a", first)]))
    assert sheet is not None
    assert list(sheet.titles) == ["text", "bytes/token"]
    assert [list(row) for row in sheet.rows] == [["law", "4.000"]]
    both = tokenizer_sheet(Results([model("a", first, second)]))
    assert both is not None
    assert list(both.titles) == ["text", "probe", "bytes/token"]
    assert [list(row) for row in both.rows] == [["law", "words", "4.000"], ["law", "letters", "3.000"]]


def test_a_note_is_told_once_and_with_its_models_where_it_is_not_about_all():
    results = Results([model("a", text_probe(1, law=1.5), notes=("odd weights",)), model("b", text_probe(2, law=1.5))])
    out = printed(results)
    assert out.count("windows of 64 tokens") == 1
    assert "note: odd weights (a)" in out


def test_what_comes_from_files_is_neither_markup_nor_control():
    results = Results([model("[red]x[/red]\x1b[31m", text_probe(1, law=1.5), notes=("[bold]n",))])
    out = printed(results)
    assert "[red]x[/red]" in out
    assert "[bold]n" in out
    assert "\x1b[31m" not in out


@pytest.mark.parametrize("width", [200, 100, 50])
def test_no_column_is_ever_cut_off(width: int):
    models = [
        model(f"checkpoint-{step}", task_probe("a_task_with_a_name", 0.5, 1.25, step), step=step) for step in (10, 20)
    ]
    out = printed(Results(models), width=width)
    letters = "".join(out.split())
    assert letters.count("30") >= 1, "the last column, of one row"
    assert "…" not in out
    assert width < 100 or "a_task_with_a_name" in out
    assert max(map(len, out.splitlines())) <= width


def test_results_of_nothing_are_an_empty_table():
    assert text_sheet(Results([]), None) is None
    assert task_sheet(Results([]), None) is None
    assert tokenizer_sheet(Results([])) is None
