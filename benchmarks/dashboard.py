"""The TensorBoard tab on a long run, in a real headless browser, and how soon it shows what is written.

python benchmarks/dashboard.py [--steps 1000000] [--only open live] [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pretrain_monitor import Monitor, Sample
from pretrain_monitor.viewing.cache import path_for

HOST = "127.0.0.1"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SPIKES, ZOOMS = 34, 12
PAINT_LIMIT_S, ZOOM_LIMIT_S, MEMORY_LIMIT_MB = 3.0, 0.5, 500.0
LIVE_MEDIAN_S, LIVE_P95_S, LOOKS = 2.0, 4.0, 60

# The frame has nothing of ours in it before its script is asked for; what TensorBoard takes until then is not ours.
CURVES = "() => document.querySelectorAll('.left .sketch, .left .plot .main-svg').length >= 3"
HEADER = "() => document.querySelector('header.run')?.dataset.state"
CHARTS = "() => document.querySelectorAll('.left .plot .main-svg').length >= 3"
WHOLE = """last => { const plot = document.querySelector('[data-signal="loss"] .plot');
    return plot?.data?.some(trace => trace.x[trace.x.length - 1] >= last) }"""
STEP = "text => document.querySelector('[data-figure=step]')?.textContent === text"
ZOOM = """async ([first, last]) => {
    const plots = [...document.querySelectorAll('.left .plot')];
    const began = performance.now();
    plots[0].emit('plotly_relayout', {'xaxis.range[0]': first, 'xaxis.range[1]': last});
    const shows = plot => Math.abs(plot.layout.xaxis.range[0] - first) < 2 && Math.abs(plot.layout.xaxis.range[1] - last) < 2;
    await new Promise(resolve => { const look = () => plots.every(shows) ? resolve() : setTimeout(look, 4); look(); });
    await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
    return performance.now() - began;
}"""  # noqa: E501
LINE = """() => { const trace = document.querySelector('[data-signal="loss"] .plot').data.find(t => t.text && t.mode.startsWith('lines'));
    return [[...trace.x], [...trace.y]] }"""  # noqa: E501


def write_run(run_dir: Path, steps: int) -> dict[int, float]:
    """A run of six signals with one-step spikes; step and value of each."""
    rng = np.random.default_rng(0)
    at = np.arange(1, steps + 1)
    loss = (2 + 4 * (at + 20.0) ** -0.35) * np.exp(0.02 * rng.standard_normal(steps))
    spikes = np.linspace(steps // 20, steps - steps // 20, SPIKES).astype(int)
    loss[spikes - 1] *= 1.5
    signals = {
        "loss": loss,
        "grad_norm": 0.5 * np.exp(0.15 * rng.standard_normal(steps)),
        "learning_rate": 3e-4 * np.minimum(at / 2000, 0.55 + 0.45 * np.cos(np.pi * at / steps)),
        "update_rms": 1e-3 * np.exp(0.1 * rng.standard_normal(steps)),
        "throughput": 1e5 * (1 + 0.02 * rng.standard_normal(steps)),
        "logit_z": 5 + 0.1 * rng.standard_normal(steps),
    }
    began = time.time() - 0.3 * steps
    monitor = Monitor(run_dir, {"console": {"enabled": False}, "tensorboard": {"enabled": False}})
    monitor.start()
    columns = [values.tolist() for values in signals.values()]
    for step, row in enumerate(zip(*columns, strict=True), 1):
        monitor.observe(Sample(step, dict(zip(signals, row, strict=True)), 8192 * step, began + 0.3 * step))
    monitor.finish()
    return {int(step): float(loss[step - 1]) for step in spikes}


@contextlib.contextmanager
def server(logdir: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a plain TensorBoard with its default flags."""
    with socket.create_server((HOST, 0)) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", HOST, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection((HOST, port), timeout=1).close()
                    break
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, headless=True, args=FLAGS, viewport={"width": 1280, "height": 900}
        )
        yield context
        context.close()


def opened(context: Any, port: int) -> tuple[Any, Any, float, float]:
    """A page, the frame of the tab, and when the page and the frame were begun."""
    page = context.new_page()
    began = time.perf_counter()
    page.goto(f"http://{HOST}:{port}/#pretrain_monitor", wait_until="commit")
    while not (found := [frame for frame in page.frames if "plugin_entry" in frame.url]):
        page.wait_for_timeout(10)
    return page, found[0], began, time.perf_counter()


def memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return float(next(entry.split()[1] for entry in text.splitlines() if entry.startswith("VmHWM"))) / 1024


def open_long_run(steps: int, chromium: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "long"
        spikes = write_run(run_dir, steps)
        print(f"{steps:,} steps x 6 signals, {(run_dir / 'run.jsonl').stat().st_size / 1e6:.0f} MB")
        for name, has_cache in (("without a cache", False), ("with a cache", True)):
            if not has_cache:
                path_for(run_dir / "run.jsonl").unlink(missing_ok=True)
            with server(Path(folder)) as (port, pid), browser(chromium) as context:
                for visit in ("first visit", "second", "third"):
                    page, frame, began, framed = opened(context, port)
                    times = []
                    for condition, given in ((HEADER, None), (CURVES, None), (CHARTS, None), (WHOLE, steps)):
                        frame.wait_for_function(condition, arg=given, timeout=180_000, polling=20)
                        times.append(time.perf_counter() - framed)
                    header, curves, charts, whole = times
                    print(
                        f"{name}, {visit}: TensorBoard's own page {framed - began:.1f} s; from there on header "
                        f"{header:.1f} s, curves {curves:.1f} s, charts {charts:.1f} s (limit "
                        f"{PAINT_LIMIT_S:g}), whole run {whole:.1f} s"
                    )
                    if not has_cache or visit != "third":
                        page.close()
                        if not has_cache:
                            break
                        continue
                    measure_zooms(frame, steps)
                    steps_drawn, values = frame.evaluate(LINE)
                    shown = dict(zip(steps_drawn, values, strict=True))
                    seen = sum(abs(shown.get(step, 0.0) - value) < 1e-6 for step, value in spikes.items())
                    print(f"one-step spikes drawn at full width: {seen} of {SPIKES}")
                print(f"{name}: server memory at most {memory_mb(pid):.0f} MB (limit {MEMORY_LIMIT_MB:g})")


def measure_zooms(frame: Any, steps: int) -> None:
    rng = np.random.default_rng(1)
    took = []
    for number in range(ZOOMS):
        width = int(steps * 10 ** -(0.3 + 3 * number / ZOOMS))
        first = int(rng.integers(1, steps - width))
        took.append(frame.evaluate(ZOOM, [first, first + width]) / 1000)
        frame.page.wait_for_timeout(700)
    frame.get_by_label("show everything").click()
    frame.wait_for_function(WHOLE, arg=steps)
    frame.page.wait_for_timeout(1500)
    print(
        f"zoom, drawn in all charts: median {statistics.median(took):.2f} s, longest of {ZOOMS} {max(took):.2f} s "
        f"(limit {ZOOM_LIMIT_S:g})"
    )


def write_to_screen(chromium: str) -> None:
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (port, _), browser(chromium) as context:
        monitor = Monitor(Path(folder) / "live", {"console": {"enabled": False}})
        monitor.start()
        rng = np.random.default_rng(0)
        for step in range(1, 201):
            monitor.observe(Sample(step, {"loss": 3.0 + 0.05 * rng.standard_normal(), "grad_norm": 1.0}))
        _, frame, _, _ = opened(context, port)
        frame.wait_for_function(STEP, arg="200", timeout=60_000)
        frame.wait_for_function(CHARTS, timeout=60_000)
        took = []
        for step in range(201, 201 + LOOKS):
            time.sleep(0.2 + 0.9 * rng.random())  # anywhere between two looks of the page
            monitor.observe(Sample(step, {"loss": 3.0 + 0.05 * rng.standard_normal(), "grad_norm": 1.0}))
            written = time.perf_counter()
            frame.wait_for_function(WHOLE, arg=step, polling=10)
            took.append(time.perf_counter() - written)
        monitor.finish()
    took.sort()
    print(
        f"write to screen, {LOOKS} steps, TensorBoard's default flags: median {statistics.median(took):.2f} s (limit "
        f"{LIVE_MEDIAN_S:g}), 95th percentile {took[int(0.95 * LOOKS)]:.2f} s (limit {LIVE_P95_S:g})"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", choices=["open", "live"], default=["open", "live"])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args(argv)
    if "open" in options.only:
        open_long_run(options.steps, options.chromium)
    if "live" in options.only:
        write_to_screen(options.chromium)


if __name__ == "__main__":
    main()
