from __future__ import annotations

import re
from pathlib import Path

from example_results import course, model, task_probe, text_probe, token_probe

from pretrain_monitor.probes.report.page import page_of, write_page
from pretrain_monitor.probes.results import ModelResult, Results

COURSE = course({"law": 2.0, "code": 1.9}, {"law": 1.8, "code": 1.7})


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_needs_nothing_from_outside(tmp_path: Path):
    path = tmp_path / "page.html"
    write_page(COURSE, None, path)
    page = path.read_text(encoding="utf-8")
    assert page.count("Plotly.newPlot(") == 1
    assert len(page) > 2_000_000, "the script is in it"
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', page)


def test_the_script_is_there_once_whatever_is_drawn():
    both = Results([model(name, text_probe(1, law=1.5), task_probe("quiz", 0.5, 1.2, 1)) for name in "ab"])
    page = page_of(both, None)
    assert page.count("Plotly.newPlot(") == 2
    assert len(page) < 8_000_000
    assert len(page_of(Results([model("a", token_probe(law=4.0))]), None)) < 10_000, "nothing is drawn"


def test_tables_come_first_and_problems_and_versions_are_told():
    failed = ModelResult("runs/x", "x", problem="cannot be loaded")
    page = without_scripts(page_of(Results([*COURSE.models, failed], versions={"torch": "2.13.0"}), None))
    order = [page.index(words) for words in ("Held-out text", "Learning curves", "Models", "Notes", "torch 2.13.0")]
    assert order == sorted(order)
    assert "x: cannot be loaded" in page
    assert "Probes of 2 models" in page


def test_everything_that_comes_from_people_is_escaped():
    name = "<script>alert(1)</script>"
    probe = task_probe("quiz", 0.5, 1.2, 1)
    results = Results(
        [model(name, probe, text_probe(1, law=1.5), notes=(f"note {name}",)), ModelResult(name, name, problem=name)],
        probe_file=name,
        versions={name: name},
    )
    assert "<script>alert" not in page_of(results, model(name, text_probe(2, law=1.4)))
    assert "alert(1)" in without_scripts(page_of(results, None))


def test_a_domain_that_was_lost_is_marked():
    lost = course({"law": 2.0}, {"law": 1.8}, {"law": 1.7}, {"law": 1.65}, {"law": 1.95})
    assert page_of(lost, None).count('<tr class="marked">') == 1
    assert '<tr class="marked">' not in page_of(COURSE, None)
