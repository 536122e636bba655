"""The page in a real browser, opened from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_audits import crowded_audit, full_audit, hostile_audit, small_audit

from pretrain_monitor.audit.model import Audit
from pretrain_monitor.report.html import html_of

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZE = {"width": 1280, "height": 800}
# Build output: for people to look at.
SCREENS = Path(__file__).parents[2] / "build" / "screens"
DRAWN = "document.documentElement.dataset.charts === 'drawn'"
# Of every chart: title, points of its first curve, steps in sight.
CHARTS = """() => [...document.querySelectorAll('figure.chart .js-plotly-plot')].map(plot => ({
    title: plot.closest('figure').dataset.signal,
    points: Math.max(...plot.data.map(trace => trace.x.length)),
    range: plot.layout.xaxis.range.map(Math.round),
    shades: plot.layout.shapes.length,
    markers: plot.data.filter(trace => trace.customdata).map(trace => trace.x.length),
    height: plot.querySelector('.scatterlayer .js-line').getBBox().height,
}))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """One page, with everything it asked for and complained of."""

    def __init__(self, browser: Any, audit: Audit, path: Path, **options: Any) -> None:
        path.write_text(html_of(audit), encoding="utf-8")
        self.path = path
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(**{"viewport": SIZE, "offline": True, **options})
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        self.page.goto(path.as_uri())

    def drawn(self) -> Any:
        self.page.wait_for_function(DRAWN)
        return self.page

    def bottom(self, selector: str) -> float:
        box = self.page.locator(selector).bounding_box()
        assert box is not None, f"{selector} is not shown"
        return float(box["y"] + box["height"])

    def keep_picture(self, name: str) -> None:
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / f"report-{name}.png")


@pytest.mark.parametrize("make", [full_audit, small_audit, crowded_audit, hostile_audit])
def test_the_page_needs_nothing_else_and_draws_every_chart(tmp_path: Path, browser: Any, make):
    audit = make()
    seen = Opened(browser, audit, tmp_path / "audit.html")
    page = seen.drawn()
    assert seen.requests == [seen.path.as_uri()]
    assert seen.complaints == []
    charts = page.evaluate(CHARTS)
    # The fitted curve is in the chart of the loss.
    assert len(charts) == sum(not curve.dashed for curve in audit.curves)
    assert all(chart["markers"] == [len(audit.incidents)] for chart in charts)
    assert all(chart["points"] >= len(audit.curves[0].steps) and chart["shades"] for chart in charts)
    assert page.locator(".replaced >> visible=true").count() == 0
    page.close()


def test_curves_are_drawn_in_their_height_and_chance_across_them(tmp_path: Path, browser: Any):
    seen = Opened(browser, full_audit(), tmp_path / "audit.html")
    assert all(chart["height"] > 40 for chart in seen.drawn().evaluate(CHARTS))
    traces = "[...document.querySelectorAll('.js-plotly-plot')].at(-1).data"
    dotted = f"{traces}.filter(trace => trace.line?.dash === 'dot' && trace.y.length)"
    assert seen.page.evaluate(f"{dotted}.map(trace => trace.y)") == [[0.25, 0.25]]
    seen.page.close()


def test_incidents_that_overlap_do_not_cover_the_curve(tmp_path: Path, browser: Any):
    lasting = [one | {"status": "ended_run", "end_step": None} for one in crowded_audit().incidents]
    audit = full_audit(100).model_copy(update={"incidents": lasting})
    seen = Opened(browser, audit, tmp_path / "audit.html")
    assert {chart["shades"] for chart in seen.drawn().evaluate(CHARTS)} == {3}, "one for each severity"
    seen.page.close()


@pytest.mark.parametrize("make", [full_audit, small_audit, crowded_audit])
@pytest.mark.parametrize("has_script", [True, False])
def test_the_first_screen_is_enough_to_decide(tmp_path: Path, browser: Any, make, has_script: bool):
    audit = make()
    seen = Opened(browser, audit, tmp_path / "audit.html", java_script_enabled=has_script)
    if has_script:
        seen.drawn()
    shown = min(len(audit.reasons), 5)
    for selector in (".said", f"ol > li:has(.reason) >> nth={shown - 1}", "#next ol >> nth=0", "#next + h2"):
        assert seen.bottom(selector) < SIZE["height"]
    assert seen.bottom(".first table:has-text('area')") < SIZE["height"]
    if audit.curves:
        assert seen.bottom(".first .still") < SIZE["height"]
        assert seen.bottom(".first .still path.line0") < SIZE["height"]
    if has_script:
        seen.keep_picture(make.__name__)
    seen.page.close()


def test_a_place_of_a_finding_is_shown_in_all_charts(tmp_path: Path, browser: Any):
    seen = Opened(browser, full_audit(), tmp_path / "audit.html")
    page = seen.drawn()
    page.get_by_role("link", name="loss, steps 30,500 to 33,000").click()
    assert {tuple(chart["range"]) for chart in page.evaluate(CHARTS)} == {(29_250, 34_250)}
    assert page.locator("#chart-status").inner_text() == "steps 29,250 to 34,250"
    page.get_by_role("button", name="show all steps").click()
    assert {tuple(chart["range"]) for chart in page.evaluate(CHARTS)} == {(1, 40_000)}
    assert seen.complaints == []
    page.close()


def test_a_reason_leads_to_its_finding_and_a_marker_to_its_incident(tmp_path: Path, browser: Any):
    seen = Opened(browser, full_audit(), tmp_path / "audit.html")
    page = seen.drawn()
    page.get_by_role("link", name="the finding: Lingering damage").click()
    assert page.evaluate("document.querySelector(':target').tagName") == "ARTICLE"
    page.locator(".first .still a.sign.critical").click()
    assert "31,000" in page.locator("tr:target").inner_text()
    page.close()


def test_what_is_folded_opens_when_a_link_leads_there(tmp_path: Path, browser: Any):
    seen = Opened(browser, crowded_audit(), tmp_path / "audit.html")
    page = seen.drawn()
    assert not page.locator("#incident-1").is_visible()
    page.evaluate("location.hash = 'incident-1'")
    page.locator("#incident-1").wait_for()
    page.close()


@pytest.mark.parametrize("make", [full_audit, crowded_audit, hostile_audit])
def test_nothing_is_wider_than_a_phone(tmp_path: Path, browser: Any, make):
    seen = Opened(browser, make(), tmp_path / "audit.html", viewport={"width": 400, "height": 800})
    page = seen.drawn()
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.close()


def test_the_page_is_as_dark_as_the_reader_wishes_and_paper_is_white(tmp_path: Path, browser: Any):
    paper = "getComputedStyle(document.body).backgroundColor"
    plot = "document.querySelector('.js-plotly-plot').layout.paper_bgcolor"
    seen = Opened(browser, full_audit(), tmp_path / "audit.html", color_scheme="dark")
    page = seen.drawn()
    assert (page.evaluate(paper), page.evaluate(plot)) == ("rgb(30, 30, 30)", "#1e1e1e")
    seen.keep_picture("dark")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{paper} === 'rgb(255, 255, 255)' && {plot} === '#ffffff'")
    page.emulate_media(color_scheme="dark", media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(f"{paper} === 'rgb(255, 255, 255)'")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("figure[data-chart] .still >> visible=true").count() == 7
    page.close()


def test_without_a_script_it_is_as_dark_as_wished_and_has_every_chart(tmp_path: Path, browser: Any):
    seen = Opened(browser, full_audit(), tmp_path / "audit.html", color_scheme="dark", java_script_enabled=False)
    assert seen.page.locator("figure[data-chart] .still >> visible=true").count() == 7
    seen.keep_picture("no-script")
    seen.page.close()
