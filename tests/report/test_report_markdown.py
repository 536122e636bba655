"""An audit as Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from example_audits import crowded_audit, full_audit, hostile_audit, small_audit

from pretrain_monitor.report.markdown import escaped, markdown_of

SMALL = Path(__file__).with_name("small_audit.md")


def test_the_whole_of_a_small_audit():
    assert markdown_of(small_audit()) == SMALL.read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [full_audit, crowded_audit, hostile_audit])
def test_rows_of_a_table_have_as_many_cells_as_its_head(make):
    cells = 0
    for line in markdown_of(make()).splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        found = len(re.findall(r"(?<!\\)\|", line))
        assert cells in (0, found)
        cells = found


def test_both_runs_and_the_comparison_of_domains_are_there():
    text = markdown_of(full_audit(2))
    assert "|  | pile-1b | against pile-1b-seed2 |" in text
    assert "| law | 0.812 (0.804 to 0.820) | 0.791 | +0.021 |" in text


def test_what_comes_from_a_run_is_text():
    text = markdown_of(hostile_audit())
    assert not re.search(r"(?<!\\)<", text)
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("[x](y)", r"\[x\](y)"),
        ("grad_norm", "grad_norm"),
        ("_so_", r"\_so\_"),
        ("# no heading", r"\# no heading"),
        ("1. no list", r"1\. no list"),
        ("0.25", "0.25"),
        ("+0.25", "+0.25"),
        ("- x", r"\- x"),
        ("---", r"\---"),
        ("a\nb", "a b"),
        ("&lt;", r"\&lt;"),
        ("R&D", "R&D"),
    ],
)
def test_a_text_shows_what_it_says(text: str, shown: str):
    assert escaped(text) == shown
