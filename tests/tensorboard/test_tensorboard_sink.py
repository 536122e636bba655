from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from event_files import read_cards, read_events, read_layout, read_scalars, read_values
from test_telemetry import an_incident
from watched_runs import troubled_run, watch

from pretrain_monitor import Event, Sample
from pretrain_monitor.config import TensorBoardConfig
from pretrain_monitor.telemetry import Change, Severity
from pretrain_monitor.tensorboard.panels import open_panels

STEPS, BAD_BATCH, SPIKE, NAN = 700, 250, 400, 600


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    run_dir = tmp_path_factory.mktemp("run")
    sink = watch(troubled_run(STEPS, seed=0, spikes={SPIKE: 0.8}, nan_at=NAN, bad_batch_at=BAD_BATCH), run_dir)
    return run_dir / "tensorboard", sink


def an_open_sink(run_dir: Path, flush_secs: float = 2.0):
    sink = open_panels(TensorBoardConfig(flush_secs=flush_secs), run_dir, None, 0)
    assert sink is not None
    return sink


def test_every_step_is_one_record_with_all_its_values(run):
    logdir, sink = run
    per_step = {s.step: s for s in sink.samples}
    for step, values in [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in read_events(logdir)]:
        if "train/loss" in values:
            metrics = per_step.pop(step).metrics
            for name in ("loss", "grad_norm", "learning_rate"):
                assert values[f"train/{name}"] == pytest.approx(metrics[name], rel=1e-6, nan_ok=True)
            for name in metrics.keys() - {"loss", "grad_norm", "learning_rate"}:
                assert values[f"trend/{name}"] == pytest.approx(metrics[name], rel=1e-6, nan_ok=True)
    assert not per_step


def test_the_band_is_as_long_as_the_curve_from_the_first_step_on(run):
    series = read_scalars(run[0])
    for signal in ("loss", "grad_norm"):
        steps = [step for step, _ in series[f"train/{signal}"]]
        assert steps == list(range(1, STEPS + 1))
        for part in ("lower", "upper"):
            assert [step for step, _ in series[f"trend/{signal}/{part}"]] == steps


def test_every_chart_of_the_layout_finds_its_series(run):
    layout = read_layout(run[0])
    tags = set(read_scalars(run[0]))
    charts = [chart for category in layout.category for chart in category.chart]
    for chart in charts:
        for series in chart.margin.series:
            assert {series.value, series.lower, series.upper} <= tags
        for pattern in chart.multiline.tag:
            assert any(re.match(pattern, tag) for tag in tags), pattern
    assert {"loss", "gradient norm", "learning rate"} <= {chart.title for chart in charts}


def test_the_points_of_alerts_are_drawn_once_more_in_a_run_of_their_own(run):
    curve = dict(read_scalars(run[0])["train/loss"])
    points = dict(read_scalars(run[0] / "alerts")["train/loss"])
    finite = {step: value for step, value in points.items() if math.isfinite(value)}
    assert list(finite)[:10] == list(range(SPIKE, SPIKE + 10))
    assert all(SPIKE <= step < SPIKE + 30 for step in finite if step != NAN)
    # A NaN has no height of its own: it is drawn beside the last value that had.
    assert finite[NAN] == curve[NAN - 1]
    assert all(value == curve[step] for step, value in finite.items() if step != NAN)


def test_the_line_through_the_points_of_an_alert_ends_with_it(run):
    points = read_scalars(run[0] / "alerts")["train/loss"]
    ends = [step for step, value in points if math.isnan(value)]
    assert len(ends) == 2
    assert SPIKE < ends[0] < SPIKE + 35
    assert ends[1] == NAN + 1


def test_no_series_ever_goes_back_in_steps(run):
    for logdir in (run[0], run[0] / "alerts"):
        for tag, points in read_scalars(logdir).items():
            steps = [step for step, _ in points]
            assert steps == sorted(steps), tag


def test_the_curve_of_incidents_is_the_severity_of_what_is_open(run):
    logdir, sink = run
    corners = read_scalars(logdir)["incident/loss"]
    levels: dict[str, int] = {}
    events = iter([*sink.events, None])
    event = next(events)
    for step in range(1, STEPS + 1):
        # An incident may begin as information and get worse: what counts is what it was called last.
        while event is not None and event.step <= step:
            is_open = event.change is not Change.CLOSED and "loss" in event.incident.signals
            levels[event.incident_id] = event.incident.severity.rank + 1 if is_open else 0
            event = next(events)
        assert at(corners, step) == max(levels.values(), default=0), step
    assert max(value for _, value in corners) == 3
    assert len(corners) < STEPS / 5


def at(corners: list[tuple[int, float]], step: int) -> float:
    """The value TensorBoard draws: straight lines between points, the last one where there are several."""
    points = dict(corners)
    left = max(s for s in points if s <= step)
    right = min(s for s in points if s >= step)
    share = 0.0 if left == right else (step - left) / (right - left)
    return points[left] + share * (points[right] - points[left])


def test_an_alert_gets_a_card_when_it_is_raised_and_one_when_it_is_over(run):
    logdir, sink = run
    cards = read_cards(logdir)
    titles = [card.splitlines()[0] for _, card in cards["incidents/alerts"]]
    alerts = [e for e in sink.events if e.incident.is_alert]
    first = {e.incident_id: e for e in reversed(alerts)}
    told = [e.incident for e in alerts if e is first[e.incident_id] or e.change is Change.CLOSED]
    assert titles == [
        f"### {i.severity.upper()}: {i.kind.replace('_', ' ')} at step {i.onset_step} ({i.status})" for i in told
    ]
    assert [title.split(":")[0] for title in titles] == ["### WARNING"] * 2 + ["### CRITICAL"] * 2
    last = sink.events[-1].incident
    assert last.advice in cards["incidents/alerts"][-1][1]
    step, overview = cards["incidents/all"][-1]
    assert step == STEPS
    assert overview.startswith("### 2 alerts, 1 info, steps 1 to 700\n")
    told = [int(n) for n in re.findall(r"\*\*step (\d+)", overview)]
    assert told[:2] == [NAN, SPIKE] and told[2] < SPIKE


def test_what_is_no_scalar_says_so_to_the_fast_loader(run):
    kinds = {v.tag: v.metadata.data_class for _, v in read_values(run[0]) if v.WhichOneof("value") == "tensor"}
    assert kinds.keys() == {"custom_scalars__config__", "incidents/alerts", "incidents/all", "incidents/info"}
    assert set(kinds.values()) == {2}  # DATA_CLASS_TENSOR


def test_a_run_without_alerts_has_no_run_of_alerts(tmp_path: Path):
    watch(troubled_run(60, seed=1, spikes={}), tmp_path)
    assert not (tmp_path / "tensorboard" / "alerts").exists()
    ((step, card),) = read_cards(tmp_path / "tensorboard")["incidents/all"]
    assert (step, card) == (60, "### 0 alerts, 0 info, steps 1 to 60")


def test_values_that_no_float_can_hold_break_nothing(tmp_path: Path):
    sink = an_open_sink(tmp_path)
    values = [math.nan, math.inf, -math.inf, 1e300, 5e-324, 2.0]
    for step, value in enumerate(values, start=1):
        sink.on_sample(Sample(step, {"loss": value, "grad_norm": value}, tokens_seen=10**15 * step))
    sink.close()
    series = read_scalars(tmp_path / "tensorboard")
    got = [value for _, value in series["train/loss"]]
    assert got == pytest.approx([math.nan, math.inf, -math.inf, math.inf, 0.0, 2.0], nan_ok=True)
    assert series["train/tokens_seen"][-1] == (6, pytest.approx(6e15))


def test_results_of_probes_keep_their_names_and_leave_the_curves_alone(tmp_path: Path):
    sink = an_open_sink(tmp_path)
    sink.on_sample(Sample(10, {"loss": 2.0}))
    sink.on_sample(Sample(10, {"heldout/code/perplexity": 9.0, "task/arc/accuracy": 0.3}))
    sink.close()
    series = read_scalars(tmp_path / "tensorboard")
    assert series["heldout/code/perplexity"] == [(10, 9.0)]
    assert series["task/arc/accuracy"] == [(10, pytest.approx(0.3))]
    assert len(series["train/loss"]) == 1


def test_an_alert_is_on_disk_at_once_however_rarely_the_file_is_flushed(tmp_path: Path):
    sink = an_open_sink(tmp_path, flush_secs=3600)
    sink.on_sample(Sample(1, {"loss": 2.0}))
    time.sleep(0.1)
    sink.on_sample(Sample(2, {"loss": 9.0}))
    sink.on_event(Event(2, "x", Change.OPENED, an_incident(id="x", onset_step=2, detected_step=2)))
    assert "incidents/alerts" in read_cards(tmp_path / "tensorboard")
    assert read_scalars(tmp_path / "tensorboard" / "alerts")["train/loss"] == [(2, 9.0)]
    sink.close()


def test_an_incident_that_gets_worse_is_told_again_and_marked_from_its_onset(tmp_path: Path):
    sink = an_open_sink(tmp_path)
    info = an_incident(id="x", severity=Severity.INFO, onset_step=2, detected_step=2, signals=("loss",))
    for step in range(1, 6):
        sink.on_sample(Sample(step, {"loss": float(step), "loss/upper": 1.5}))
        if step == 2:
            sink.on_event(Event(2, "x", Change.OPENED, info))
    alert = replace(info, severity=Severity.WARNING, detected_step=5)
    sink.on_event(Event(5, "x", Change.UPDATED, alert))
    sink.close()
    logdir = tmp_path / "tensorboard"
    assert read_scalars(logdir / "alerts")["train/loss"] == [(2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0)]
    assert [step for step, _ in read_cards(logdir)["incidents/alerts"]] == [5]
    assert "incidents/info" not in read_cards(logdir)


def test_info_incidents_have_cards_of_their_own_when_they_are_over(tmp_path: Path):
    sink = an_open_sink(tmp_path)
    info = an_incident(id="x", severity=Severity.INFO)
    sink.on_event(Event(5, "x", Change.OPENED, info))
    sink.on_event(Event(60, "x", Change.CLOSED, info))
    sink.close()
    cards = read_cards(tmp_path / "tensorboard")
    assert [step for step, _ in cards["incidents/info"]] == [60]
    assert "incidents/alerts" not in cards


def test_drawing_a_step_costs_little_of_the_host(tmp_path: Path):
    sink = an_open_sink(tmp_path)
    bands = {f"{s}/{part}": 2.0 for s in ("loss", "grad_norm") for part in ("expected", "lower", "upper")}
    costs = []
    for step in range(1, 2001):
        sample = Sample(step, {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-4, **bands}, tokens_seen=step)
        start = time.thread_time()
        sink.on_sample(sample)
        costs.append(time.thread_time() - start)
    sink.close()
    # Some 15 microseconds on an idle core; the bound only catches a mistake of another order.
    assert sorted(costs)[len(costs) // 2] < 0.5e-3
