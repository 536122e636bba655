"""The plugin's routes as a hostile or confused client uses them, without a browser."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.plugins import base_plugin
from watched_runs import QUIET, troubled_run
from werkzeug.test import Client

from pretrain_monitor import Monitor, Sample
from pretrain_monitor.lines import sample_line
from pretrain_monitor.naming import SIGNAL_NAMES
from pretrain_monitor.tensorboard.plugin.logdir import RunKind, find_runs, roots_of
from pretrain_monitor.tensorboard.plugin.plugin import MonitorPlugin

WRITING = {**QUIET, "tensorboard": {"enabled": False}}


def watched(run_dir: Path, n: int = 600, **trouble: Any) -> Path:
    monitor = Monitor(run_dir, WRITING)
    monitor.start()
    for sample in troubled_run(n, seed=0, **{"spikes": {400: 1.0}, **trouble}):
        monitor.observe(sample)
    monitor.finish()
    return run_dir


class Tab:
    """A plugin on a log directory, asked by way of its WSGI applications."""

    def __init__(self, logdir: Path, spec: str = "") -> None:
        flags = argparse.Namespace(logdir_spec=spec)
        self.plugin = MonitorPlugin(base_plugin.TBContext(logdir="" if spec else str(logdir), flags=flags))
        self.apps = self.plugin.get_plugin_apps()

    def ask(self, route: str, method: str = "GET", **query: Any) -> Any:
        name = "/static/*" if route.startswith("/static/") else route
        client = Client(self.apps[name])
        return client.open(f"/data/plugin/pretrain_monitor{route}", method=method, query_string=query)

    def json(self, route: str, **query: Any) -> Any:
        response = self.ask(route, **query)
        assert response.status_code == 200, response.get_data(as_text=True)
        return json.loads(response.get_data())

    def whole(self, name: str) -> Any:
        """The run, once all of it has been read."""
        deadline = time.monotonic() + 30
        while True:
            found = self.json("/run", run=name)
            if found["share_read"] == 1 and found["is_summed_up"]:
                return found
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_run_is_told_whole_and_then_only_that_nothing_has_changed(tmp_path: Path):
    tab = Tab(watched(tmp_path / "a").parent)
    found = tab.whole("a")
    assert found["step"] == 600
    assert found["signals"] == ["grad_norm", "learning_rate", "loss"]
    deadline = time.monotonic() + 10
    while not (again := tab.json("/run", run="a", known=found["mark"])).get("is_unchanged"):
        found = again  # bands were still being replayed
        assert time.monotonic() < deadline
    assert "incidents" not in again


def test_names_and_paths_lead_nowhere_but_to_runs(tmp_path: Path):
    watched(tmp_path / "logs" / "a")
    (tmp_path / "secret.js").write_text("secret")
    watched(tmp_path / "outside")
    tab = Tab(tmp_path / "logs")
    tab.json("/runs")
    for name in ("../outside", "/etc", "a/../../outside", "a/run.jsonl", "", "a\0b", str(tmp_path / "outside")):
        response = tab.ask("/run", run=name)
        assert response.status_code == 400
        assert "no run" in json.loads(response.get_data())["error"]
    for name in (
        "../plugin.py",
        "../../../../secret.js",
        "%2e%2e/plugin.py",
        "/etc/passwd",
        "",
        "__init__.py",
        "app.js/",
    ):
        assert tab.ask(f"/static/{name}").status_code == 404
    assert tab.ask("/static/app.js").status_code == 200


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"first": "x"}, "first='x' is no whole number"),
        ({"first": "9", "last": "3"}, "last=3 lies before first=9"),
        ({"axis": "<script>"}, "choose one of step, tokens, time"),
        ({"columns": "nan"}, "columns='nan' is no whole number"),
        ({"known": "[1]"}, "known takes a JSON object"),
        ({"known": '{"loss": 3}'}, "known takes a JSON object"),
    ],
)
def test_bad_questions_get_one_line(tmp_path: Path, query: dict[str, str], problem: str):
    tab = Tab(watched(tmp_path / "a").parent)
    tab.whole("a")
    response = tab.ask("/series", run="a", signals="loss", **query)
    assert response.status_code == 400
    assert response.content_type.startswith("application/json")
    assert problem in json.loads(response.get_data())["error"]


def test_huge_questions_get_answers_of_a_bounded_size(tmp_path: Path):
    tab = Tab(watched(tmp_path / "a", 3000).parent)
    tab.whole("a")
    names = "\n".join(["loss", *(f"x{i}" for i in range(5000))])
    found = tab.json("/series", run="a", signals=names, columns=10**12, first=-(10**30), last=10**30)
    assert list(found["signals"]) == ["loss"]
    assert len(found["signals"]["loss"]["steps"]) <= 8_006
    few = tab.json("/series", run="a", signals="loss", columns=-5)
    assert 2 <= len(few["signals"]["loss"]["steps"]) <= 26


def test_the_page_calls_signals_what_everything_else_calls_them(tmp_path: Path):
    script = Tab(tmp_path).ask("/static/format.js").get_data(as_text=True)
    names = re.search(r"const SIGNALS = (\{.*?\});", script)
    assert names is not None
    assert json.loads(re.sub(r"(\w+):", r'"\1":', names[1])) == SIGNAL_NAMES


def test_tensorboard_starts_without_waiting_for_what_reads_the_runs():
    program = (
        "import sys; import pretrain_monitor.tensorboard.plugin.plugin\n"
        "assert not {'ruptures', 'scipy', 'pydantic', 'plotly', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_of_a_curve_that_the_page_has_only_what_is_new_is_sent(tmp_path: Path):
    log = watched(tmp_path / "a", 3000) / "run.jsonl"
    tab = Tab(tmp_path)
    tab.json("/runs")
    tab.whole("a")
    ask = {"run": "a", "signals": "loss", "columns": 200, "first": 1}
    before = tab.json("/series", **ask, last=3000)["signals"]["loss"]
    with log.open("ab") as file:
        file.write(b"".join(sample_line(Sample(step, {"loss": 2.5}, time=float(step))) for step in range(3001, 3101)))
    deadline = time.monotonic() + 10
    while tab.json("/run", run="a")["step"] != 3100:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    known = json.dumps({"loss": [before["grain"], before["steps"][-1]]})
    new = tab.json("/series", **ask, last=3100, known=known)["signals"]["loss"]
    whole = tab.json("/series", **ask, last=3100)["signals"]["loss"]
    assert new["start"] is not None
    assert len(new["steps"]) < len(whole["steps"]) / 10
    assert [step for step in before["steps"] if step < new["start"]] + new["steps"] == whole["steps"]
    other = tab.json("/series", **ask, last=3100, known=json.dumps({"loss": ["other", 3000]}))["signals"]["loss"]
    assert other["start"] is None
    assert other["steps"] == whole["steps"]


def test_only_reading_is_answered(tmp_path: Path):
    tab = Tab(watched(tmp_path / "a").parent)
    assert tab.ask("/run", "POST", run="a").status_code == 405
    assert tab.ask("/static/app.js", "DELETE").status_code == 405


def test_markup_is_never_sent_as_a_page(tmp_path: Path):
    name = "<img src=x onerror=alert(1)>"
    tab = Tab(watched(tmp_path / name).parent)
    tab.json("/runs")
    for route, query in (("/runs", {}), ("/run", {"run": name}), ("/run", {"run": name + "?"})):
        response = tab.ask(route, **query)
        assert response.content_type.startswith("application/json")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_plotly_comes_from_the_installed_package_and_may_be_kept(tmp_path: Path):
    import plotly.offline

    response = Tab(tmp_path).ask("/plotly.js")
    assert response.get_data(as_text=True) == plotly.offline.get_plotlyjs()
    assert "max-age=86400" in response.headers["Cache-Control"].replace(" ", "")


def test_nested_and_linked_runs_are_found_once_and_loops_end(tmp_path: Path):
    watched(tmp_path / "logs" / "a", 20)
    watched(tmp_path / "logs" / "a" / "inner" / "b", 20)
    watched(tmp_path / "elsewhere" / "c", 20)
    (tmp_path / "logs" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "logs" / "a" / "loop").symlink_to(tmp_path / "logs")
    events = tmp_path / "logs" / "events"
    for below in ("", "alerts", "other"):
        (events / below).mkdir()
        (events / below / "events.out.tfevents.1.host").touch()
    (tmp_path / "logs" / "a" / "tensorboard").mkdir()
    (tmp_path / "logs" / "a" / "tensorboard" / "events.out.tfevents.1.host").touch()
    found = find_runs(roots_of(str(tmp_path / "logs")))
    assert {name: run.kind for name, run in found.items()} == {
        "a": RunKind.LOG,
        "a/inner/b": RunKind.LOG,
        "linked/c": RunKind.LOG,
        "events": RunKind.EVENTS,
        "events/other": RunKind.EVENTS,
    }


def test_a_log_directory_may_be_a_run_may_not_be_there_and_may_have_a_specification(tmp_path: Path):
    watched(tmp_path / "a", 20)
    assert [run["name"] for run in Tab(tmp_path / "a").json("/runs")["runs"]] == ["."]
    missing = Tab(tmp_path / "nowhere")
    assert missing.json("/runs")["runs"] == []
    assert not missing.plugin.is_active()
    spec = Tab(tmp_path, f"one:{tmp_path / 'a'},{tmp_path}")
    assert [run["name"] for run in spec.json("/runs")["runs"]] == ["2/a", "one"]
    assert spec.plugin.is_active()


def test_damaged_empty_and_growing_logs_are_shown_as_far_as_they_go(tmp_path: Path):
    log = watched(tmp_path / "cut") / "run.jsonl"
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.jsonl").touch()
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "run.jsonl").write_bytes(os.urandom(100_000))
    tab = Tab(tmp_path)
    tab.json("/runs")
    assert 200 < tab.whole("cut")["step"] < 400
    assert tab.whole("empty")["state"] == "empty"
    assert tab.whole("noise")["step"] is None
    with log.open("ab") as file:
        file.write(b"\n" + sample_line(Sample(590, {"loss": 2.0}, time=time.time())))
    deadline = time.monotonic() + 10
    while tab.json("/run", run="cut")["step"] != 590:
        assert time.monotonic() < deadline
        time.sleep(0.05)


HOSTILE_RECORDS = [
    '{"type":"sample","step":3,"metrics":{"loss":1e999},"time":1e999,"tokens_seen":1}',
    '{"type":"sample","step":4,"metrics":{"loss":NaN},"time":NaN}',
    f'{{"type":"sample","step":5,"metrics":{{"loss":1.0}},"tokens_seen":{10**400},"time":1}}',
    f'{{"type":"sample","step":6,"metrics":{{"loss":{10**400}}},"time":1}}',
    '{"type":"sample","step":7,"metrics":{"loss":1.0},"time":true,"meta":{"probes":'
    '{"each":{"a":{"seconds":NaN,"notes":7}}}}}',
    '{"type":"sample","step":8,"metrics":{"heldout/a/bits_per_byte":1.0},"meta":{"probes":{},"retention":'
    '[{"domain":"heldout/a","metric":"heldout/a/bits_per_byte","documents":NaN,"change":Infinity,"best_step":[1]}]}}',
    '{"type":"run","resumed_from":-5,"time":"x"}',
    f'{{"type":"run","resumed_from":{10**30},"time":1e999}}',
    '{"type":"end","step":9,"time":NaN,"reason":{"a":[1]}}',
    '{"type":"sample","step":4611686018427387903,"metrics":{"loss":1.0},"time":1}',
    '{"type":"announcement","step":1,"from_step":1e999,"what":"x","text":5}',
    '{"type":"action","step":1,"time":1,"do":["x"],"outcome":1,"reason":null,"incident":"","details":{}}',
    '{"type":"action","step":1,"time":1,"do":"rewind","outcome":"done","reason":"","incident":"","details":{"to_step":{}}}',
    "[" * 5000,
]


def test_records_that_somebody_made_to_do_harm_do_none(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    log = watched(tmp_path / "a", 100, spikes={}) / "run.jsonl"
    other = (watched(tmp_path / "b") / "run.jsonl").read_text().splitlines()
    event = json.loads(next(line for line in other if line.startswith('{"type":"event"')))
    event["step"] = 2
    event["incident"]["evidence"] = {
        "duration_steps": 10**400, "segments": [[1], ["a", 2, 3], [1, 10**400, 1.0]], "lead_steps": {"loss": "x"},
        "charts": {"loss": {"level": "NaN"}, "x": 3}, "changes": [{"step": 1}, 5],
    }  # fmt: skip
    event["incident"]["peak"] = "Infinity"
    lines = [*log.read_text().splitlines()[:3], json.dumps(event, separators=(",", ":")), *HOSTILE_RECORDS]
    log.write_text("\n".join(lines) + "\n")
    tab = Tab(tmp_path)
    tab.json("/runs")
    found = tab.whole("a")
    (incident,) = found["incidents"]
    tab.json("/incident", run="a", id=incident["id"])
    tab.json("/domains", run="a")
    tab.json("/compare", runs="a\nb")
    for axis in ("step", "tokens", "time"):
        tab.json("/series", run="a", signals="loss\nheldout/a/bits_per_byte", axis=axis)
    assert "failed" not in caplog.text


def test_very_many_signals_and_incidents_stay_within_bounds(tmp_path: Path):
    (tmp_path / "a").mkdir()
    many = {f"signal {i}": float(i) for i in range(5000)}
    lines = [sample_line(Sample(step, {"loss": 1.0, **many}, time=float(step))) for step in (1, 2)]
    (tmp_path / "a" / "run.jsonl").write_bytes(b"".join(lines))
    tab = Tab(tmp_path)
    tab.json("/runs")
    assert len(tab.whole("a")["signals"]) == 2000


def test_a_directory_that_may_not_be_written_is_left_as_it_is(tmp_path: Path):
    run_dir = watched(tmp_path / "a")
    before = sorted(path.name for path in run_dir.iterdir())
    run_dir.chmod(0o555)
    try:
        tab = Tab(tmp_path)
        tab.json("/runs")
        tab.whole("a")
        tab.json("/series", run="a", signals="loss")
        assert sorted(path.name for path in run_dir.iterdir()) == before
    finally:
        run_dir.chmod(0o755)


def test_a_log_that_cannot_be_read_says_so(tmp_path: Path):
    log = watched(tmp_path / "a") / "run.jsonl"
    tab = Tab(tmp_path)
    tab.json("/runs")
    log.unlink()
    log.mkdir()
    deadline = time.monotonic() + 10
    while True:
        (run,) = tab.json("/runs")["runs"] or [{"text": ""}]
        if "cannot be read" in run["text"] or not run["text"]:
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_that_is_looked_at_no_more_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pretrain_monitor.tensorboard.plugin import library

    monkeypatch.setattr(library, "_WANTED_S", 0.5)
    tab = Tab(watched(tmp_path / "a").parent)
    tab.whole("a")
    (run,) = tab.plugin._reader.library().runs
    assert run.nbytes > 0
    deadline = time.monotonic() + 10
    while run.nbytes:
        tab.json("/runs")
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert tab.whole("a")["step"] == 600


def test_nothing_is_read_while_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pretrain_monitor.tensorboard.plugin import library

    monkeypatch.setattr(library, "_IDLE_AFTER_S", 0.3)
    log = watched(tmp_path / "a") / "run.jsonl"
    tab = Tab(tmp_path)
    tab.whole("a")
    time.sleep(1.0)
    with log.open("ab") as file:
        file.write(sample_line(Sample(601, {"loss": 2.0}, time=time.time())))
    time.sleep(0.5)
    (run,) = tab.plugin._reader.library().runs
    assert run.step == 600
    deadline = time.monotonic() + 10
    while tab.json("/run", run="a")["step"] != 601:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_runs_of_others_are_searched_for_incidents_before_anybody_opens_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from torch.utils.tensorboard import SummaryWriter

    from pretrain_monitor.tensorboard.plugin import watched as of_run

    monkeypatch.setattr(of_run, "_GLANCE_AGAIN_S", 0.5)
    tab = Tab(tmp_path)
    stream = troubled_run(900, seed=0, spikes={400: 1.0})
    with SummaryWriter(str(tmp_path / "other"), flush_secs=1) as out:

        def write(steps: int) -> None:
            for _ in range(steps):
                sample = next(stream)
                for name, value in sample.metrics.items():
                    out.add_scalar(f"train/{name}", value, sample.step)
            out.flush()

        def until(step: int) -> Any:
            deadline = time.monotonic() + 20
            while ((runs := tab.json("/runs")["runs"]) or [{"step": None}])[0]["step"] != step:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            return runs[0]

        write(600)
        assert until(599)["counts"]["warning"] == 1  # the newest step may still get more
        (run,) = tab.plugin._reader.library().runs
        assert run.nbytes == 0
        write(300)
        until(899)


def test_several_long_runs_share_the_memory_and_keep_their_spikes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pretrain_monitor.tensorboard.plugin import library

    monkeypatch.setattr(library, "_MOST_BYTES", 1_500_000)
    for name in "ab":
        path = tmp_path / name / "run.jsonl"
        path.parent.mkdir()
        lines = (
            sample_line(Sample(step, {"loss": 9.0 if step == 7000 else 1.0 + step % 7}, time=float(step)))
            for step in range(1, 60_001)
        )
        path.write_bytes(b"".join(lines))
    tab = Tab(tmp_path)
    tab.json("/runs")
    for name in "ab":
        tab.whole(name)
    deadline = time.monotonic() + 20
    while sum(run.nbytes for run in tab.plugin._reader.library().runs) > 1_500_000:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = {run["name"]: run for run in tab.json("/compare", runs="a\nb")["runs"]}
    assert found["a"]["step"] == found["b"]["step"] == 60_000
    loss = tab.json("/series", run="a", signals="loss")["signals"]["loss"]
    assert loss["samples_per_pair"] > 1
    assert 7000 in loss["steps"]
    assert loss["steps"][-1] == 60_000
