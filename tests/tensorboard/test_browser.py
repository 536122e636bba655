"""What a person sees: a real server, started as the command line starts it, and a real browser."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from browser import chromium, free_port, wait_for
from test_tensorboard_resume import RESUMED_AFTER, SPIKE, STEPS, resumed_run

from pretrain_monitor.tensorboard.launch import HOST, charts_url, tensorboard_url

# One server and one browser for all of them.

SERVE = """
import sys
from pretrain_monitor.tensorboard.launch import run_tensorboard
sys.exit(run_tensorboard(sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    run_dir = tmp_path_factory.mktemp("seen")
    resumed_run(run_dir)
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(run_dir), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"Open {tensorboard_url(port)}\n"
            wait_for(lambda: points(port, "tensorboard", "train/loss"))
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HOST, port), timeout=1)


def get(port: int, path: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{HOST}:{port}/data/{path}", timeout=10) as response:
        return json.load(response)


def points(port: int, run: str, tag: str) -> list[tuple[int, Any]]:
    if tag not in get(port, "plugin/scalars/tags").get(run, {}):
        return []
    return [(p[1], p[2]) for p in get(port, f"plugin/scalars/scalars?run={run}&tag={tag}")]


def test_the_fast_loader_shows_every_step_once_and_no_superseded_alert(port: int):
    assert [step for step, _ in points(port, "tensorboard", "train/loss")] == list(range(1, STEPS + 1))
    marked = [step for step, value in points(port, "tensorboard/alerts", "train/loss") if value != "NaN"]
    assert min(marked) == SPIKE
    cards = get(port, "plugin/text/text?run=tensorboard&tag=incidents/alerts")
    assert [card["step"] for card in cards][:2] == [RESUMED_AFTER + 1, SPIKE]


@pytest.fixture(scope="module")
def page(port: int) -> Iterator[Any]:
    with chromium(1500, 1100) as context:
        yield context.new_page()


CHARTS = "tf-custom-scalar-margin-chart-card, tf-custom-scalar-multi-line-chart-card"
# Title -> series -> (points, length of the drawn path) of a chart.
READ_CHARTS = """cards => Object.fromEntries(cards.map(card => {
    const chart = card.shadowRoot.querySelector('tf-line-chart-data-loader').shadowRoot.querySelector('vz-line-chart2');
    const paths = [...chart.shadowRoot.querySelectorAll('path.line')].map(p => (p.getAttribute('d') || '').length);
    const series = chart._chart ? chart._chart.datasets.map(d => [d.metadata().name, d.data().length]) : [];
    return [card.localName.includes('margin') ? card.title + ' and band' : card.title,
            {series: Object.fromEntries(series), drawn: Math.max(0, ...paths)}];
}))"""


def test_the_custom_scalars_tab_draws_every_point_and_the_alert_in_a_second_colour(port: int, page: Any):
    errors: list[str] = []
    hosts: set[str] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto(charts_url(port))

    def complete() -> Any:
        charts = page.locator(CHARTS).evaluate_all(READ_CHARTS)
        return charts if len(charts) == 6 and all(c["series"] and c["drawn"] for c in charts.values()) else None

    charts = wait_for(complete)
    assert list(charts)[:2] == ["loss and band", "gradient norm and band"]
    for title in ("loss and band", "loss"):
        assert charts[title]["series"]["train/loss (tensorboard)"] == STEPS
        assert 3 <= charts[title]["series"]["train/loss (tensorboard/alerts)"] <= 35
    assert charts["gradient norm"]["series"]["train/grad_norm (tensorboard)"] == STEPS
    assert charts["learning rate"]["series"] == {"train/learning_rate (tensorboard)": STEPS}
    assert "incident/loss (tensorboard)" in charts["open incidents: 1 info, 2 warning, 3 critical"]["series"]
    assert all(chart["drawn"] > 100 for chart in charts.values())
    assert page.get_by_text("do not match").count() == 0
    assert page.get_by_text("Missing Tags").count() == 0
    assert page.locator("tf-custom-scalar-dashboard").evaluate("dashboard => dashboard._smoothingWeight") == 0
    assert not errors
    assert hosts == {f"{HOST}:{port}"}


def test_the_text_tab_shows_the_alert_with_its_advice(port: int, page: Any):
    page.goto(f"http://{HOST}:{port}/#text")
    page.reload()
    page.get_by_role("heading", name=f"WARNING: spike at step {SPIKE} (recovered)").first.wait_for(timeout=30_000)
    page.get_by_text("What to do:").first.wait_for()
