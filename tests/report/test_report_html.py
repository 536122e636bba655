"""The page as text: what is in it, where links lead, and that nothing of a run is markup."""

from __future__ import annotations

import re
import sys
import time
from html.parser import HTMLParser

import pytest
from example_audits import HOSTILE, RUN, crowded_audit, curve, full_audit, hostile_audit, small_audit

from pretrain_monitor.audit.model import Audit, Verdict
from pretrain_monitor.report.charts import charts_of, spans_of
from pretrain_monitor.report.errors import ReportError
from pretrain_monitor.report.html import html_of, page_template
from pretrain_monitor.report.still import HEIGHT, still_of
from pretrain_monitor.report.thinning import kept
from pretrain_monitor.report.words import incidents_of


class Outline(HTMLParser):
    """Elements, anchors and links of a page; a page that is not well formed fails."""

    _VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [found["href"]] if tag == "a" and found.get("href") else []
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("make", [full_audit, small_audit, crowded_audit, hostile_audit])
def test_every_link_leads_somewhere_and_every_anchor_is_there_once(make):
    outline = Outline(html_of(make()))
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.links) <= {f"#{anchor}" for anchor in outline.ids}
    assert "img" not in outline.tags


def test_reasons_link_to_their_findings():
    page = html_of(full_audit(50))
    links = re.findall(r'<a href="#(finding-[^"]+)" aria-label="the finding: ([^"]+)"', page)
    assert links == [
        ("finding-stability-lingering_damage", "Lingering damage"),
        ("finding-tokenization-unknown_share", "Unknown tokens"),
        ("finding-schedule-restarts", "Restarts of the schedule after a resume"),
    ]


def test_the_verdict_comes_first_and_the_appendix_last():
    page = html_of(full_audit(50))
    order = [
        "Not ready</span>", "<h2>Why</h2>", "<h2>What to do next</h2>", "<h2>Key numbers</h2>",
        "<h2>Checks by area</h2>", "<h2>Charts", "<h2>Evidence", "<h2>Data", "<h2>Incidents", "<h2>Appendix",
        "Spike score: share of losses", "numpy 2.4.6", 'id="plotly-packed"',
    ]  # fmt: skip
    places = [page.index(words) for words in order]
    assert places == sorted(places)


def test_eight_long_curves_make_a_page_that_can_be_mailed():
    audit = full_audit(4000)
    assert len(audit.curves) == 8
    began = time.perf_counter()
    page = html_of(audit)
    assert time.perf_counter() - began < 2
    assert 1_500_000 < len(page.encode()) < 8_000_000


def test_however_many_curves_there_are_the_page_can_be_mailed():
    audit = full_audit(4000)
    many = [
        audit.curves[i % 3 + 4].model_copy(update={"signal": f"heldout/domain {i}/bits_per_byte"}) for i in range(200)
    ]
    page = html_of(audit.model_copy(update={"curves": [*audit.curves, *many]}))
    assert len(page.encode()) < 8_000_000
    assert page.count("<figure") == 150
    assert "57 more curves are not drawn" in page


def test_thinning_keeps_both_ends_of_every_column_and_gaps():
    steps = list(range(1, 10_001))
    values: list[float | None] = [float(step % 100) for step in steps]
    values[5_000:6_000] = [None] * 1_000
    found = kept(steps, values, 100)
    assert len(found) <= 200
    assert {values[place] for place in found} == {0.0, 99.0, None}
    assert found == sorted(found)
    assert kept(steps, values, 5_000) == list(range(10_000))


def test_what_comes_from_a_run_is_text():
    page = html_of(hostile_audit())
    assert "<img" not in page
    assert "onerror=alert(1)&gt;" in page
    assert "\x1b" not in page
    assert "{{7*7}}" in page
    # Of the scripts: import map, data, plotly, own.
    assert page.count("</script>") == 4
    assert HOSTILE not in page


def test_advice_that_many_incidents_share_is_given_once():
    page = html_of(crowded_audit())
    assert page.count("Keep a checkpoint from before the onset.") == 2, "for alerts, and for what is for information"
    assert page.count("What to do: as above") == 58
    assert page.count('<tr id="incident-') == 60


def test_another_run_stands_beside_it_with_its_own_numbers():
    page = html_of(full_audit(2))
    row = re.search(r'<th scope="row">final loss</th>.*', page)
    assert row is not None
    assert re.findall(r">([\d.]+)<", row[0]) == ["2.413", "2.403"]
    assert "pile-1b-seed2" not in html_of(small_audit())


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str):
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    page_template.cache_clear()
    with pytest.raises(ReportError) as error:
        html_of(small_audit())
    assert str(error.value) == f"the HTML report needs {package}: pip install 'pretrain-monitor[report]'"


def test_an_audit_of_next_to_nothing_is_a_page():
    run = RUN.model_copy(update={"samples": 0, "first_step": None, "last_step": None, "interval": None})
    audit = Audit(run=run, criteria="research", verdict=Verdict.NOT_ENOUGH, reasons=["No samples."], findings=[])
    page = html_of(audit)
    assert "Not enough evidence" in page
    assert len(page) < 100_000, "there is nothing to draw, so nothing to draw with"


def still(values: list[float | None], group: str = "other", **fields: object):
    audit = full_audit(2).model_copy(
        update={
            "curves": [
                curve("x", group, range(1, len(values) + 1), [0.0] * len(values)).model_copy(
                    update={"values": values, **fields}
                )
            ]
        }
    )
    (chart,) = charts_of(audit)
    return still_of(chart, spans_of(incidents_of(audit), 40_000), (1, max(len(values), 2)))


def heights(path: str) -> list[float]:
    return [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]


def test_a_still_picture_loses_no_spike():
    values: list[float | None] = [1.0 + 0.001 * (i % 7) for i in range(20_000)]
    values[12_345] = 9.0
    (line,) = still(values).lines
    assert len(heights(line.path)) <= 1100
    assert min(heights(line.path)) < 0.2 * HEIGHT
    assert sum(y < 0.5 * HEIGHT for y in heights(line.path)) == 1


@pytest.mark.parametrize("values", [[None, None], [1.0], [2.0, 2.0], [0.0, 0.0], [1e-300, 1e300], [-1.0, None, 5e-324]])
@pytest.mark.parametrize("group", ["loss", "grad_norm", "other"])
def test_strange_values_are_drawn_or_left_out(values: list[float | None], group: str):
    picture = still(values, group)
    assert all(0 <= y <= HEIGHT for line in picture.lines for y in heights(line.path))
    assert len(picture.crosses) == values.count(None)


def test_the_first_fall_does_not_hide_what_comes_after_it():
    values: list[float | None] = [10.0, 8.0] + [2.0 + 0.01 * (i % 5) for i in range(998)]
    low = heights(still(values, "loss").lines[0].path)[-10:]
    assert max(low) - min(low) > 0.3 * HEIGHT
    flat = heights(still(values, "other").lines[0].path)[-10:]
    assert max(flat) - min(flat) < 0.05 * HEIGHT


def test_incidents_that_overlap_are_one_shade_for_each_severity():
    audit = crowded_audit()
    chart = charts_of(audit)[0]
    spans = [
        span.__class__(span.anchor, span.severity, span.first, 40_000, span.label)
        for span in spans_of(incidents_of(audit), 40_000)
    ]
    picture = still_of(chart, spans, (1, 40_000))
    assert [shade.severity for shade in picture.shades] == ["info", "warning", "critical"]
    assert len(picture.markers) == 60
