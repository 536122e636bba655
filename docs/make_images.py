"""Makes the pictures of the README: an alert in the terminal, why it was told, and the run in TensorBoard.

Monitor, terminal output, TensorBoard and browser are real. The curve is made up, with one spike, unless a run directory
is given, whose samples are then watched once more.

    python docs/make_images.py [--run runs/demo] [--probes runs/demo-hf-domain] [--chromium /usr/bin/chromium]

With --probes, of a run of ``pretrain-monitor demo --fault domain``, also what its probes have found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rich
from PIL import Image
from rich.console import Console

from pretrain_monitor import Monitor, MonitorConfig, Sample, audit_run, read_run, replay
from pretrain_monitor.explain.scene import explain
from pretrain_monitor.explain.survey import survey
from pretrain_monitor.explain.terminal import print_explanation
from pretrain_monitor.report.html import html_of
from pretrain_monitor.sinks.wording import worst
from pretrain_monitor.tensorboard.launch import HOST, charts_url, end, start_tensorboard

IMAGES = Path(__file__).parent / "images"
WIDTH = 100  # columns
STEPS, SPIKE = 1500, 1100


def made_up_run() -> Iterator[Sample]:
    """A power-law loss with autocorrelated noise and a spike from which it recovers."""
    rng = np.random.default_rng(7)
    noise = 0.0
    for step in range(1, STEPS + 1):
        noise = 0.3 * noise + rng.normal(0, 0.018)
        decay = np.exp(-(step - SPIKE) / 14) if step >= SPIKE else 0.0
        loss = (2.2 + 6 * (step + 20) ** -0.45) * np.exp(noise) + 0.9 * decay
        grad_norm = (0.4 + 3 * (step + 5) ** -0.6) * np.exp(rng.normal(0, 0.12)) * (1 + 7 * decay)
        learning_rate = 3e-4 * min(step / 100, 0.55 + 0.45 * np.cos(np.pi * step / STEPS))
        metrics = {"loss": float(loss), "grad_norm": float(grad_norm), "learning_rate": float(learning_rate)}
        yield Sample(step, metrics, tokens_seen=step * 524_288)


def watch(samples: Iterator[Sample], run_dir: Path) -> str:
    """What the terminal shows, as SVG."""
    rich.reconfigure(record=True, force_terminal=True, width=WIDTH, file=io.StringIO())
    monitor = Monitor(run_dir)
    monitor.start()
    for sample in samples:
        monitor.observe(sample)
    monitor.finish()
    return without_fonts(rich.get_console().export_svg(title="python train.py"))


def without_fonts(svg: str) -> str:
    # The picture names a font to be fetched from elsewhere; what fixed-width font there is will do.
    return re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)


def explained(picture: Path, chromium: str) -> None:
    """What ``pretrain-monitor explain`` prints of a loss that is 7 % higher from one step on."""
    stream = [Sample(s.step, {"loss": s.metrics["loss"] * (1.07 if s.step > 900 else 1.0)}) for s in made_up_run()]
    stream = stream[: SPIKE - 1]
    found = survey(stream, MonitorConfig())
    console = Console(record=True, force_terminal=True, width=WIDTH, file=io.StringIO())
    print_explanation(explain(stream, worst(found.incidents), found, MonitorConfig()), console)
    svg = without_fonts(console.export_svg(title=f"pretrain-monitor explain runs/gpt {worst(found.incidents).id}"))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.set_content(f"<body style='margin: 0'>{svg}</body>")
        content = page.locator("svg").first.screenshot()
        browser.close()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(picture, optimize=True)


@contextlib.contextmanager
def dashboard(run_dir: Path, chromium: str, height: int, address: str | None = None) -> Iterator[Any]:
    """A page of TensorBoard in a browser; the Custom Scalars tab unless another is named."""
    from playwright.sync_api import sync_playwright

    with socket.create_server((HOST, 0)) as server:
        port = int(server.getsockname()[1])
    process = start_tensorboard(run_dir, port)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
            page = browser.new_page(viewport={"width": 1500, "height": height})
            page.goto(charts_url(port) if address is None else f"http://{HOST}:{port}/#{address}")
            yield page
            browser.close()
    finally:
        end(process)


def photograph_tab(run_dir: Path, picture: Path, chromium: str) -> None:
    """Our own tab, with the worst incident open."""
    identity = worst(replay(run_dir)).id
    with dashboard(run_dir, chromium, 1000, f"pretrain_monitor&run=.&incident={identity}") as page:
        tab = next_frame(page)
        tab.wait_for_function("() => document.querySelectorAll('.card .plot .main-svg').length >= 6", timeout=60_000)
        page.wait_for_timeout(2000)
        with Image.open(io.BytesIO(page.screenshot())) as image:
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(picture, optimize=True)


def photograph_audit(run_dir: Path, picture: Path, chromium: str) -> None:
    """The first screen of the page that ``pretrain-monitor audit --html`` writes."""
    from playwright.sync_api import sync_playwright

    page_file = Path("audit.html").absolute()
    page_file.write_text(html_of(audit_run(run_dir)), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(page_file.as_uri())
        page.wait_for_timeout(3000)
        content = page.screenshot()
        browser.close()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(picture, optimize=True)


def next_frame(page: Any) -> Any:
    while not (found := [frame for frame in page.frames if "plugin_entry" in frame.url]):
        page.wait_for_timeout(100)
    return found[0]


def photograph(run_dir: Path, picture: Path, chromium: str) -> None:
    with dashboard(run_dir, chromium, height=800) as page:
        page.get_by_text("Ignore outliers in chart scaling").click()
        wait_until_drawn(page)
        page.screenshot(path=picture)


def photograph_probes(run_dir: Path, picture: Path, chromium: str) -> None:
    """The charts of held-out text, three beside each other."""
    with dashboard(run_dir, chromium, height=2400) as page:
        # Two categories stand above theirs, and what is not in sight is not drawn.
        wait_until_drawn(page, charts=page.locator("vz-line-chart2").count() or 11)
        top = page.get_by_text("Held-out text.").first.bounding_box()["y"]
        with Image.open(io.BytesIO(page.screenshot())) as image:
            image.crop((360, int(top) - 20, 1440, int(top) + 600)).convert("RGB").save(picture, optimize=True)


def wait_until_drawn(page: Any, charts: int = 6) -> None:
    page.wait_for_timeout(1000)
    for _ in range(60):
        paths = page.locator("vz-line-chart2").evaluate_all(
            "charts => charts.filter(c => [...c.shadowRoot.querySelectorAll('path.line')]"
            ".some(path => (path.getAttribute('d') || '').length > 100)).length"
        )
        if paths == charts:
            page.wait_for_timeout(1500)  # the charts fade in
            return
        page.wait_for_timeout(500)
    raise RuntimeError(f"TensorBoard has drawn {paths} of {charts} charts within 30 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run directory whose samples are shown")
    parser.add_argument("--probes", type=Path, help="a run directory whose probes are shown")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    samples = made_up_run() if options.run is None else iter(list(read_run(options.run)))
    IMAGES.mkdir(exist_ok=True)
    images = IMAGES.absolute()
    if options.probes is not None:
        photograph_probes(options.probes, images / "probes.png", options.chromium)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)  # so that the picture names a run directory as a user would
        run_dir = Path("runs/gpt")
        (images / "alert.svg").write_text(watch(samples, run_dir), encoding="utf-8")
        explained(images / "explain.png", options.chromium)
        photograph_tab(run_dir, images / "tab.png", options.chromium)
        photograph(run_dir, images / "tensorboard.png", options.chromium)
        photograph_audit(run_dir, images / "audit.png", options.chromium)
        os.chdir(images)


if __name__ == "__main__":
    main()
