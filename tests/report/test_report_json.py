"""An audit as a file for other programs, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from example_audits import RUN, full_audit, hostile_audit

from pretrain_monitor.report.errors import ReportError
from pretrain_monitor.report.html import html_of
from pretrain_monitor.report.json_file import json_of, read_audit, schema

SCHEMA = Path(__file__).parents[2] / "docs" / "audit.schema.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.json"


@pytest.mark.parametrize("make", [full_audit, hostile_audit])
def test_what_was_written_is_read_back_but_for_the_curves(path: Path, make):
    audit = make()
    path.write_text(json_of(audit), encoding="utf-8")
    assert read_audit(path) == audit.model_copy(update={"curves": []})
    assert json_of(read_audit(path)) == json_of(audit)


def test_a_report_is_made_from_what_was_read_back(path: Path):
    path.write_text(json_of(full_audit()), encoding="utf-8")
    page = html_of(read_audit(path))
    assert "Lingering damage" in page
    assert 'id="charts"' not in page


def test_numbers_that_json_does_not_have_are_spelled(path: Path):
    audit = full_audit(2).model_copy(update={"run": RUN.model_copy(update={"final_loss": float("inf")})})
    path.write_text(json_of(audit), encoding="utf-8")
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["run"]["final_loss"] == "Infinity"
    assert read_audit(path).run.final_loss == float("inf")


def test_the_published_schema_is_that_of_the_model():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema(), "write schema() to docs/audit.schema.json"


def test_the_schema_names_everything_that_is_written():
    written, told = json.loads(json_of(full_audit(2))), schema()
    assert set(written) == set(told["properties"])
    assert set(written["findings"][0]) == set(told["$defs"]["Finding"]["properties"])
    assert set(written["run"]) == set(told["$defs"]["RunFacts"]["properties"])
    assert {"enum": ["NaN", "Infinity", "-Infinity"]} in told["$defs"]["RunFacts"]["properties"]["final_loss"]["anyOf"]


def changed(**fields: object) -> str:
    return json.dumps(json.loads(json_of(full_audit(2))) | fields)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON in line 1"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[]", '"format" is not "pretrain-monitor audit"'),
        (b'{"step": 1}', '"format" is not "pretrain-monitor audit"'),
        (b"[" * 100_000, "not JSON"),
        (changed(version=2).encode(), "version 2; this release reads version 1"),
        (changed(verdict="fine").encode(), "damaged audit: verdict: Input should be 'ready'"),
        (changed(surprise=1).encode(), "damaged audit: surprise"),
        (changed(incidents=[{"id": "x"}]).encode(), "damaged audit: incidents: KeyError('kind')"),
        (changed(incidents=[7]).encode(), "damaged audit: incidents"),
    ],
)
def test_what_is_no_audit_gets_one_line(path: Path, content: bytes, told: str):
    path.write_bytes(content)
    with pytest.raises(ReportError) as error:
        read_audit(path)
    assert told in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_gets_one_line(tmp_path: Path):
    with pytest.raises(ReportError, match="cannot be read: No such file"):
        read_audit(tmp_path / "nothing.json")
    with pytest.raises(ReportError, match="cannot be read: Is a directory"):
        read_audit(tmp_path)
