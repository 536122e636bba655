"""The page in a real browser: nothing is fetched, nothing fails, and what it draws is what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eventful_runs import RUNS, explanation_of

from pretrain_monitor.explain.html import write_html
from pretrain_monitor.explain.panels import draw

# One browser for all of them.

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# Name -> number of points of every curve, as plotly has them.
TRACES = """() => Object.fromEntries(
    document.querySelector('.js-plotly-plot')._fullData.map(trace => [trace.name, trace.x.length]))"""


class Seen:
    """One page, with everything it asked for and complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))

    def open(self, path: Path) -> None:
        self.requests.clear()
        self.complaints.clear()
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".js-plotly-plot .main-svg", state="attached")


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Seen(browser.new_page(viewport={"width": 1200, "height": 900}))
        browser.close()


@pytest.mark.parametrize("run", RUNS)
def test_every_incident_is_a_page_that_needs_nothing_else(tmp_path: Path, seen: Seen, run: str):
    explanation = explanation_of(run)
    path = tmp_path / "why.html"
    write_html(explanation, path)
    seen.open(path)
    assert seen.requests == [path.as_uri()]
    assert seen.complaints == []
    assert seen.page.title().startswith(explanation.incident.id)
    titles = seen.page.locator(".annotation-text").all_text_contents()
    assert [panel.title for panel in draw(explanation).panels if panel.title not in titles] == []
    # As wide as the window allows, and no wider.
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 1200


def test_every_sample_is_in_the_page(tmp_path: Path, seen: Seen):
    explanation = explanation_of("level_shift")
    write_html(explanation, tmp_path / "why.html")
    seen.open(tmp_path / "why.html")
    traces = seen.page.evaluate(TRACES)
    assert traces["loss"] == len(explanation.tracks[0].steps)
    assert {"level chart", "scale chart", "trend before the incident", "alarm"} <= set(traces)
    assert seen.page.get_by_text("first alarm", exact=True).count() == 1
    assert seen.page.locator("path.js-line").count() > 8


def test_names_and_messages_are_text_and_not_markup(tmp_path: Path, seen: Seen):
    explanation = explanation_of("bad_batch")
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)> <b>b</b> & {x}"
    track = replace(explanation.tracks[0], name=nasty)
    incident = replace(explanation.incident, id=nasty, message=nasty, advice=nasty, signals=(nasty,))
    path = tmp_path / "why.html"
    write_html(replace(explanation, incident=incident, tracks=(track,), unshown=(nasty,)), path)
    seen.open(path)
    assert (seen.requests, seen.complaints) == ([path.as_uri()], [])
    assert seen.page.locator("h1").inner_text().startswith(nasty[:40])
    assert seen.page.locator("img, h1 b, dd b").count() == 0
