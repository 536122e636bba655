"""The tab as a person sees it: plain ``tensorboard --logdir``, a real browser, numbers read off the page."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from browser import HOST, SCREENS, chromium, tensorboard, wait_for
from curves import healthy_run, samples
from probe_rounds import probe_rounds
from watched_runs import QUIET, troubled_run, watch

from pretrain_monitor import Monitor, Sample, replay
from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.paired import level
from pretrain_monitor.probes.retention import RetentionTracker
from pretrain_monitor.records import read_samples

# One server and one browser for all of them.

SPIKES = 34
BEGAN = 1_764_000_000.0  # seconds since the epoch
HOSTILE = "<img src=x onerror=window.hacked=1>&<script>window.hacked=1</script>"
WRITING = {**QUIET, "tensorboard": {"enabled": False}}


def spiky_run(n: int = 20_000) -> dict[str, np.ndarray]:
    """One-step spikes, each in a column of pixels of its own."""
    run = healthy_run(n, seed=4)
    run["loss"][spike_steps(n) - 1] *= 1.6
    return run


def spike_steps(n: int = 20_000) -> np.ndarray:
    return np.linspace(n // 10, n - n // 50, SPIKES).astype(int)


def probed_run(run_dir: Path) -> None:
    """Rounds of probes in which a domain is forgotten."""
    monitor = Monitor(run_dir, WRITING)
    monitor.start()
    tracker = RetentionTracker()
    rounds = list(probe_rounds(20, seed=0, every=50, forgets={"heldout/law": (10, 0.2, 2.0)}))
    probed = {step: round_of(step, scores, tracker) for step, scores in rounds}
    monitor.observe(probed[0])
    for sample in samples(healthy_run(rounds[-1][0], seed=6)):
        monitor.observe(Sample(sample.step, sample.metrics, sample.step * 4096, BEGAN + 2.0 * sample.step))
        if sample.step in probed:
            monitor.observe(probed[sample.step])
    monitor.announce("more code", step=400, completed_steps=399)
    monitor.finish()


def round_of(step: int, scores: dict[str, Scores], tracker: RetentionTracker) -> Sample:
    metrics = {f"{name}/bits_per_byte": level(one) for name, one in scores.items()}
    metrics |= {f"{name}/bits_per_byte_se": 0.01 for name in scores}
    metrics |= {"tokenization/prose/bytes_per_token": 4.25, "tokenization/prose/fertility": 1.31}
    changes = [change.to_json() for change in tracker.update(step, scores)]
    return Sample(
        step, metrics, None, BEGAN + 2.0 * step, {"probes": {"reason": "regular", "each": {}}, "retention": changes}
    )


def foreign_run(directory: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(directory)) as out:
        for sample in troubled_run(2000, seed=8, spikes={1200: 1.0}):
            for name, value in sample.metrics.items():
                out.add_scalar(f"train/{name}", value, sample.step)
            if sample.step % 500 == 0:
                out.add_scalar("eval/loss", 3.0 - sample.step / 2000, sample.step)


@dataclass
class Site:
    """A log directory, its server and a page with what went wrong on it."""

    logdir: Path
    port: int
    context: Any
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self, address: str = "", *, query: str = "", is_in_tensorboard: bool = False) -> tuple[Any, Any]:
        """A page and the frame of the tab, once it has drawn; alone, which is quicker, or in TensorBoard."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        place = f"/{query}" if is_in_tensorboard else "/data/plugin_entry.html?name=pretrain_monitor"
        page.goto(f"http://{HOST}:{self.port}{place}#pretrain_monitor{address}")
        frame = page.main_frame
        if is_in_tensorboard:
            tab = lambda: next((one for one in page.frames if "plugin_entry" in one.url), None)  # noqa: E731
            frame = wait_for(lambda: tab() or page.wait_for_timeout(50))
        frame.evaluate("() => addEventListener('securitypolicyviolation', e => { window.violated = e.blockedURI })")
        frame.wait_for_function("() => window.__pm_ready === true", timeout=30_000)
        return page, frame

    def screen(self, page: Any, name: str) -> None:
        SCREENS.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(400)
        page.screenshot(path=str(SCREENS / f"{name}.png"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    logdir = tmp_path_factory.mktemp("logs")
    watch(troubled_run(3000, seed=0, spikes={1500: 1.0, 2500: 0.8}, nan_at=2000, bad_batch_at=900), logdir / "first")
    watch(troubled_run(3000, seed=1, spikes={1500: 1.2}), logdir / "group" / "second")
    monitor = Monitor(logdir / "spiky", WRITING)
    monitor.start()
    for sample in samples(spiky_run()):
        monitor.observe(sample)
    monitor.finish()
    probed_run(logdir / "probed")
    foreign_run(logdir / "foreign" / "tb")
    with tensorboard(logdir) as port, chromium() as context:
        found = Site(logdir, port, context)
        yield found
        assert found.errors == []
        assert found.hosts == {f"{HOST}:{port}"}


def of_run(site: Site, name: str) -> list[Sample]:
    return list(read_samples(site.logdir / name / "run.jsonl"))


def drawn(frame: Any, signal: str = "loss") -> dict[str, Any]:
    """The line of a chart, its visible range and its incidents."""
    found: dict[str, Any] = frame.evaluate(
        """name => {
            const plot = document.querySelector(`[data-signal="${name}"] .plot`);
            const line = plot.data.find(trace => trace.text && trace.mode.startsWith('lines'));
            return {x: [...line.x], y: [...line.y], range: plot.layout.xaxis.range,
                    yrange: plot.layout.yaxis.range, type: plot.layout.yaxis.type,
                    markers: plot.data.filter(t => t.customdata).flatMap(t => t.text)};
        }""",
        signal,
    )
    return found


def wait_until_drawn(frame: Any, first: float, last: float) -> None:
    frame.wait_for_function(
        """([first, last]) => [...document.querySelectorAll('.left .plot')].every(plot => {
            const [a, b] = plot.layout.xaxis.range; return Math.abs(a - first) < 2 && Math.abs(b - last) < 2; })""",
        arg=[first, last],
    )


def test_the_tab_opens_with_the_answer(site: Site):
    page, frame = site.open("&run=first", is_in_tensorboard=True)
    assert page.get_by_role("tab", name="Pretrain Monitor").count() or page.get_by_text("PRETRAIN MONITOR").count()
    incidents = replay(site.logdir / "first")
    header = frame.locator("header.run")
    assert "finished" in header.locator(".state").inner_text()
    assert frame.locator("[data-figure=step]").inner_text() == "3,000"
    counts = frame.locator("[data-figure=incidents]").inner_text()
    for severity in ("info", "warning", "critical"):
        assert f"{sum(one.severity == severity for one in incidents)} {severity}" in counts
    rows = frame.locator("tr[data-id]")
    assert {row.get_attribute("data-id") for row in rows.all()} == {one.id for one in incidents}
    markers = " ".join(drawn(frame)["markers"])
    assert all(f"step {one.onset_step:,}" in markers for one in incidents)
    spike = next(one for one in incidents if one.kind == "spike")
    hover = next(text for text in drawn(frame)["markers"] if f"step {spike.onset_step:,}" in text)
    assert re.search(r"^spike \(warning\) at step 1,500, \+\d+(\.\d)? %, \d+(\.\d)? sd, \d+ steps: recovered", hover)
    assert frame.evaluate("() => window.violated") is None
    site.screen(page, "run")
    page.close()


def test_all_of_34_one_step_spikes_are_drawn_at_full_width(site: Site):
    page, frame = site.open("&run=spiky")
    frame.wait_for_function("() => document.querySelector('.plot').data.some(t => t.x[t.x.length - 1] === 20000)")
    line = drawn(frame)
    shown = dict(zip(line["x"], line["y"], strict=True))
    assert len(line["x"]) < 3000
    loss = spiky_run()["loss"]
    spikes = [step for step in spike_steps() if loss[step - 1] > 1.4 * loss[step]]
    assert len(spikes) == SPIKES
    for step in spikes:
        assert shown[step] == pytest.approx(loss[step - 1], rel=1e-7)
    site.screen(page, "spikes")
    page.close()


def test_a_zoom_by_mouse_shows_every_step_in_all_charts_and_fits_the_height(site: Site):
    page, frame = site.open("&run=first")
    box = frame.locator('[data-signal="loss"] .nsewdrag').first.bounding_box()
    at = lambda share: box["x"] + share * box["width"]  # noqa: E731
    page.mouse.move(at(0.47), box["y"] + 60)
    page.mouse.down()
    page.mouse.move(at(0.50), box["y"] + 70, steps=4)
    page.mouse.move(at(0.56), box["y"] + 80, steps=4)
    page.mouse.up()
    frame.wait_for_function(
        "() => { const [a, b] = document.querySelector('.plot').layout.xaxis.range; return b - a < 600 }"
    )
    first, last = map(round, drawn(frame)["range"])
    wait_until_drawn(frame, first, last)
    values = {sample.step: sample.metrics for sample in of_run(site, "first")}
    for signal in ("loss", "grad_norm", "learning_rate"):
        line = drawn(frame, signal)
        inside = [(x, y) for x, y in zip(line["x"], line["y"], strict=True) if first <= x <= last]
        assert [x for x, _ in inside] == list(range(first, last + 1))
        assert [y for _, y in inside] == pytest.approx([values[x][signal] for x, _ in inside], rel=1e-7)
        low, high = line["yrange"] if line["type"] == "linear" else [10**end for end in line["yrange"]]
        assert low <= min(y for _, y in inside)
        assert max(y for _, y in inside) <= high
        assert high - low < 8 * (max(y for _, y in inside) - min(y for _, y in inside))
    frame.locator('[data-signal="loss"] .nsewdrag').first.dblclick()
    wait_until_drawn(frame, 1, 3000)
    page.close()


def test_an_incident_opens_its_card_and_has_an_address_of_its_own(site: Site):
    page, frame = site.open("&run=first", is_in_tensorboard=True)
    incident = next(one for one in replay(site.logdir / "first") if one.kind == "spike" and one.onset_step == 1500)
    frame.locator(f'tr[data-id="{incident.id}"] button').click()
    card = frame.locator(f'[data-incident="{incident.id}"]')
    card.wait_for()
    check_card(card, incident)
    frame.wait_for_function("() => document.querySelectorAll('.card .plot .main-svg').length >= 3")
    zoomed = "() => { const [a, b] = document.querySelector('.left .plot').layout.xaxis.range; return b - a < 500 }"
    frame.wait_for_function(zoomed)
    first, last = drawn(frame)["range"]
    assert first < incident.onset_step < incident.end_step < last
    assert last - first < 500
    link = page.evaluate("location.href")
    site.screen(page, "incident")
    page.close()
    address = link.partition("#pretrain_monitor")[2]
    page, frame = site.open(address, is_in_tensorboard=True)
    card = frame.locator(f'[data-incident="{incident.id}"]')
    card.wait_for()
    check_card(card, incident)
    card.get_by_role("button", name="all incidents").click()
    card.wait_for(state="detached")
    assert "incident" not in page.evaluate("location.hash")
    page.close()


def check_card(card: Any, incident: Any) -> None:
    text = card.inner_text()
    assert incident.message in text
    assert incident.advice in text
    fact = lambda name: card.locator(f'[data-fact="{name}"]').inner_text()  # noqa: E731
    assert fact("onset") == f"step {incident.onset_step:,}"
    assert fact("end") == f"step {incident.end_step:,}"
    assert f"{incident.score:.1f} sd" in fact("size") or f"{incident.score:.3g} sd" in fact("size")
    assert fact("lasted") == f"{incident.evidence['duration_steps']} steps"
    assert "opened" in card.locator(".history").inner_text()


def test_the_list_is_sorted_and_filtered(site: Site):
    page, frame = site.open("&run=first")
    incidents = replay(site.logdir / "first")
    steps = lambda: [int(t.replace(",", "")) for t in frame.locator("tr[data-id] td:nth-child(2)").all_inner_texts()]  # noqa: E731
    assert steps() == sorted((one.onset_step for one in incidents), reverse=True)
    frame.locator('button[data-key="onset_step"]').click()
    assert steps() == sorted(one.onset_step for one in incidents)
    assert frame.locator('th[aria-sort="ascending"]').inner_text().startswith("step")
    frame.get_by_label("least severity").select_option("critical")
    assert steps() == [one.onset_step for one in incidents if one.severity == "critical"]
    frame.get_by_label("least severity").select_option("info")
    frame.get_by_label("filter incidents").fill("bad batch")
    assert steps() == [one.onset_step for one in incidents if one.kind == "bad_batch"]
    frame.get_by_label("filter incidents").fill("nothing of this kind")
    assert frame.get_by_text("none with this filter").count() == 1
    page.close()


def test_the_keyboard_reaches_an_incident_and_its_card(site: Site):
    page, frame = site.open("&run=first")
    frame.locator("tr[data-id] button").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    frame.locator(".card").wait_for()
    assert frame.evaluate("() => document.activeElement.classList.contains('card')")
    frame.locator(".card .small").first.focus()
    page.keyboard.press("Space")
    frame.locator(".card").wait_for(state="detached")
    page.close()


def test_domains_have_the_numbers_of_the_log_and_lead_to_their_incident(site: Site):
    page, frame = site.open("&run=probed&view=domains")
    row = frame.locator('tr[data-domain="law"]')
    row.wait_for()
    last = [sample for sample in of_run(site, "probed") if sample.meta and "probes" in sample.meta][-1]
    value = last.metrics["heldout/law/bits_per_byte"]
    low, high = value - 1.96 * 0.01, value + 1.96 * 0.01
    digits = lambda number: f"{number:.4g}"  # noqa: E731
    assert row.locator("[data-value=newest]").inner_text() == f"{digits(value)} ({digits(low)} to {digits(high)})"
    change = next(entry for entry in last.meta["retention"] if entry["domain"] == "heldout/law")
    text = row.locator("[data-value=change]").inner_text()
    assert f"{100 * change['relative']:.3g} %" in text
    assert f"{change['change']:.3g}" in text
    assert frame.locator("tr[data-domain]").count() == 5
    assert frame.locator(".domains .plot .main-svg").count() >= 5
    assert "4.25" in frame.locator(".tokenization").inner_text()
    site.screen(page, "domains")
    row.get_by_role("button").click()
    card = frame.locator(".card")
    card.wait_for()
    assert "retention loss" in card.inner_text()
    page.close()


def test_runs_are_compared_and_a_shared_step_is_put_down_to_the_data(site: Site):
    page, frame = site.open("&view=compare&runs=" + quote("first\ngroup/second"))
    shared = frame.locator("li[data-step]")
    shared.first.wait_for()
    assert shared.count() == 1
    assert shared.first.inner_text() == "step 1,500: spike in first, spike in group/second"
    lines = frame.wait_for_function(
        """() => { const plot = document.querySelector('[data-signal="loss"] .plot');
                   const lines = plot?.data?.filter(t => t.mode?.startsWith('lines') && t.y.length > 100) ?? [];
                   return lines.length === 2 ? lines.map(t => t.name) : false }"""
    ).json_value()
    assert lines == ["first", "group/second"]
    site.screen(page, "compare")
    shared.first.get_by_role("button").last.click()
    frame.locator(".card").wait_for()
    assert frame.locator("#run").input_value() == "group/second"
    page.close()


def test_a_run_of_somebody_else_shows_its_incident_and_says_where_it_comes_from(site: Site):
    page, frame = site.open("&run=" + quote("foreign/tb"))
    row = frame.locator("tr[data-id]")
    row.first.wait_for(timeout=30_000)
    told = [one for one in replay(site.logdir / "foreign" / "tb") if one.is_alert]
    shown = {one.get_attribute("data-id") for one in row.all()}
    assert told
    assert {one.id for one in told} <= shown
    assert "No run log of pretrain_monitor" in frame.locator("header.run").inner_text()
    frame.wait_for_function("() => document.querySelector('.plot').data.some(t => t.x[t.x.length - 1] >= 1999)")
    site.screen(page, "foreign")
    frame.get_by_role("tab", name="Domains").click()
    frame.locator('tr[data-domain="eval/loss"]').wait_for()
    page.close()


def test_tokens_and_wall_time_are_axes_and_other_signals_can_be_chosen(site: Site):
    page, frame = site.open("&run=probed")
    frame.get_by_label("axis").select_option("tokens")
    frame.wait_for_function("() => document.querySelector('.plot').layout.xaxis.range[1] > 1e6")
    values = {
        sample.tokens_seen: sample.metrics["loss"] for sample in of_run(site, "probed") if "loss" in sample.metrics
    }
    line = drawn(frame)
    assert line["y"] == pytest.approx([values[x] for x in line["x"]], rel=1e-7)
    frame.get_by_label("axis").select_option("time")
    frame.wait_for_function("() => document.querySelector('.plot').layout.xaxis.type === 'date'")
    assert max(drawn(frame)["x"]) == pytest.approx(1000 * (BEGAN + 2.0 * 950))
    frame.get_by_label("axis").select_option("step")
    frame.get_by_text("Signals", exact=True).click()
    frame.get_by_label("heldout/law/bits_per_byte", exact=True).check()
    frame.locator('[data-signal="heldout/law/bits_per_byte"] .main-svg').first.wait_for()
    law = drawn(frame, "heldout/law/bits_per_byte")
    assert len(law["x"]) == 20
    band = frame.evaluate(
        "name => document.querySelector(`[data-signal='${name}'] .plot`).data.slice(0, 2).map(trace => trace.y)",
        "heldout/law/bits_per_byte",
    )
    assert band[0] == pytest.approx([value - 1.96 * 0.01 for value in law["y"]], abs=1e-6)
    assert band[1] == pytest.approx([value + 1.96 * 0.01 for value in law["y"]], abs=1e-6)
    page.close()


def test_a_page_shows_what_is_written_and_stays_where_the_user_zoomed(site: Site):
    run_dir = site.logdir / "live"
    monitor = Monitor(run_dir, WRITING)
    monitor.start()
    stream = troubled_run(3000, seed=9, spikes={700: 1.0})
    for _ in range(500):
        monitor.observe(next(stream))
    page, frame = site.open()
    wait_for(lambda: frame.locator('#run option[value="live"]').count() or page.wait_for_timeout(200))
    frame.get_by_label("run", exact=True).select_option("live")
    wait_for(lambda: frame.locator("[data-figure=step]").inner_text() == "500" or page.wait_for_timeout(50))
    assert "healthy" in frame.locator(".state").inner_text()
    delays = []
    for _ in range(5):
        for _ in range(30):
            sample = next(stream)
            monitor.observe(sample)
        written = time.monotonic()
        wanted = f"{sample.step:,}"
        frame.wait_for_function(
            "s => document.querySelector('[data-figure=step]').textContent === s", arg=wanted, polling=20
        )
        delays.append(time.monotonic() - written)
    assert np.median(delays) < 2
    assert max(delays) < 4
    # The curve too, and an alert while it is going on.
    for _ in range(60):
        sample = next(stream)
        monitor.observe(sample)
    wait_until_drawn(frame, 1, sample.step)
    assert drawn(frame)["x"][-1] == sample.step
    frame.wait_for_function("() => document.querySelector('header.run').dataset.state === 'incident open'")
    site.screen(page, "live")
    # Zoomed: new samples change nothing of what is in view.
    frame.get_by_label("zoom in").click()
    frame.wait_for_function("() => document.querySelector('.plot').layout.xaxis.range[0] > 1")
    before = drawn(frame)["range"]
    for _ in range(40):
        sample = next(stream)
        monitor.observe(sample)
    frame.wait_for_function(
        "s => document.querySelector('[data-figure=step]').textContent === s", arg=f"{sample.step:,}"
    )
    page.wait_for_timeout(300)
    assert drawn(frame)["range"] == before
    frame.get_by_label("follow newest").check()
    for _ in range(40):
        sample = next(stream)
        monitor.observe(sample)
    frame.wait_for_function("last => document.querySelector('.plot').layout.xaxis.range[1] === last", arg=sample.step)
    width = drawn(frame)["range"]
    assert width[1] - width[0] == pytest.approx(before[1] - before[0], abs=1)
    monitor.finish("stopped by somebody")
    frame.wait_for_function("() => document.querySelector('.health').textContent.includes('stopped by somebody')")
    page.close()


def wait_for_step(frame: Any, step: int) -> None:
    shows = "text => document.querySelector('[data-figure=step]').textContent === text"
    frame.wait_for_function(shows, arg=f"{step:,}", polling=20)


def test_a_hidden_page_asks_for_nothing_and_catches_up_when_it_is_seen(site: Site):
    page, frame = site.open("&run=first")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    frame.evaluate("() => Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    page.wait_for_timeout(1200)
    asked.clear()
    page.wait_for_timeout(2500)
    assert [url for url in asked if "/pretrain_monitor/" in url] == []
    frame.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')) }")
    page.wait_for_timeout(500)
    assert [url for url in asked if "/pretrain_monitor/run" in url]
    page.close()


def test_another_tab_of_tensorboard_keeps_its_address_and_the_way_back_leads_to_what_was_shown(site: Site):
    page, frame = site.open("&run=first&incident=loss-1500", is_in_tensorboard=True)
    frame.locator(".card").wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_text("Time Series").first.click()
    page.wait_for_timeout(2500)
    assert page.evaluate("location.hash").startswith("#timeseries")
    asked.clear()
    page.wait_for_timeout(2500)
    assert [url for url in asked if "/plugin/pretrain_monitor/" in url] == []
    page.get_by_text("Pretrain Monitor").first.click()
    page.wait_for_timeout(2500)
    assert "incident=loss-1500" in page.evaluate("location.hash")
    assert frame.locator(".card").is_visible()
    assert [url for url in asked if "/plugin/pretrain_monitor/" in url]
    page.close()


@pytest.mark.parametrize(
    ("width", "view"), [(1280, "run"), (1280, "compare"), (390, "run"), (390, "domains"), (390, "compare")]
)
def test_nothing_sticks_out_of_the_window(site: Site, width: int, view: str):
    page, frame = site.open(f"&run=probed&view={view}")
    page.set_viewport_size({"width": width, "height": 900})
    # Charts follow the width of the window a moment later.
    frame.wait_for_function(
        "() => { const all = document.documentElement; return all.scrollWidth <= all.clientWidth + 1 }"
    )
    site.screen(page, f"{view}-{width}")
    page.close()


def test_dark_mode_is_followed_and_text_stands_out_in_both(site: Site):
    colours = {}
    for name, query in (("light", ""), ("dark", "?darkMode=true")):
        page, frame = site.open("&run=first", query=query, is_in_tensorboard=True)
        frame.wait_for_function("() => document.querySelector('.plot .main-svg')")
        colours[name] = frame.evaluate(
            """selectors => {
                const of = (selector, what) => getComputedStyle(document.querySelector(selector))[what];
                return {body: of('body', 'backgroundColor'), texts: selectors.map(one => of(one, 'color'))};
            }""",
            ["body", ".state", ".note", ".badge.info", ".badge.warning", ".badge.critical", "td", "button.link", "dt"],
        )
        site.screen(page, name)
        page.close()
    assert luminance(colours["light"]["body"]) > 0.8
    assert luminance(colours["dark"]["body"]) < 0.1
    for found in colours.values():
        for text in found["texts"]:
            # WCAG 2.2, level AA.
            assert contrast(text, found["body"]) >= 4.5, (text, found["body"])


def luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_markup_in_names_tags_messages_and_advice_is_text(site: Site):
    name = "evil <b>run</b> & 'co'"  # a slash in it: one directory in another
    run_dir = site.logdir / name
    monitor = Monitor(run_dir, WRITING)
    monitor.start()
    for sample in troubled_run(600, seed=11, spikes={400: 1.0}):
        monitor.observe(Sample(sample.step, {**sample.metrics, HOSTILE: 1.0 + sample.step % 7}))
    monitor.announce(HOSTILE, step=601)
    monitor.finish(HOSTILE)
    log = run_dir / "run.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        record = json.loads(line)
        if record["type"] == "event":
            record["incident"]["message"] = record["incident"]["advice"] = HOSTILE
            lines[at] = json.dumps(record, separators=(",", ":"))
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    page, frame = site.open("&run=" + quote(name))
    frame.locator("tr[data-id]").first.wait_for(timeout=20_000)
    frame.locator("tr[data-id] button").first.click()
    frame.locator(".card .message").wait_for()
    assert frame.locator(".card .message").inner_text() == HOSTILE
    assert HOSTILE in frame.locator(".health .text").inner_text()
    frame.get_by_text("Signals", exact=True).click()
    frame.locator(f"input[value={json.dumps(HOSTILE)}]").check()
    frame.wait_for_function("() => document.querySelectorAll('.left .plot .main-svg').length >= 4")
    frame.locator(".left .plot").first.hover()
    frame.get_by_role("tab", name="Compare").click()
    frame.locator("table.runs").wait_for()
    page.wait_for_timeout(500)
    assert frame.evaluate("() => window.hacked") is None
    assert page.evaluate("() => window.hacked") is None
    assert frame.locator("main img, header img, main script").count() == 0
    page.close()


def test_the_slow_loader_and_a_directory_that_cannot_be_written_are_fine(site: Site, tmp_path: Path):
    with tensorboard(site.logdir / "first", "--load_fast", "false") as port:
        other = Site(site.logdir / "first", port, site.context)
        page, frame = other.open()
        frame.wait_for_function("() => document.querySelector('[data-figure=step]').textContent === '3,000'")
        assert frame.locator("#run").input_value() == "."
        assert len(drawn(frame)["x"]) > 1000
        page.close()
        assert other.errors == []


def test_the_page_says_so_when_the_server_is_gone_and_when_there_are_no_runs(site: Site, tmp_path: Path):
    done = threading.Event()
    (tmp_path / "run.jsonl").write_bytes(b"")
    with tensorboard(tmp_path) as port:
        other = Site(tmp_path, port, site.context)
        page, frame = other.open()
        assert "no samples yet" in frame.locator("header.run").inner_text()
        done.set()
    frame.get_by_text("TensorBoard does not answer").wait_for(timeout=10_000)
    assert done.is_set()
    page.close()
