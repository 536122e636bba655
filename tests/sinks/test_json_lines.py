from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console
from rich.progress import Progress
from test_telemetry import an_incident

from pretrain_monitor import Event, Incident, Sample, Severity
from pretrain_monitor.actions.orders import ActionRecord
from pretrain_monitor.config import ConfigError
from pretrain_monitor.sinks.json_lines import JsonLinesSink
from pretrain_monitor.telemetry import Change


def event(change: Change, incident: Incident, step: int = 905) -> Event:
    return Event(step, incident.id, change, incident)


def written(*events: Event, **settings: object) -> list[dict[str, object]]:
    stream = io.StringIO()
    sink = JsonLinesSink(stream, **settings)  # type: ignore[arg-type]
    for one in events:
        sink.on_event(one)
    return [strict(line) for line in stream.getvalue().splitlines()]


def strict(line: str) -> dict[str, object]:
    def refuse(name: str) -> float:
        raise ValueError(name)

    return json.loads(line, parse_constant=refuse)


def test_an_incident_is_one_line_at_each_change():
    incident = an_incident(severity=Severity.WARNING, message="loss rose", advice="Look at the data.")
    opened, closed = written(event(Change.OPENED, incident), event(Change.CLOSED, incident, step=990))
    assert opened["incident"] == incident.to_json()
    del opened["incident"]
    assert opened == {
        "source": "pretrain_monitor",
        "type": "incident",
        "change": "opened",
        "step": 905,
        "severity": "warning",
        "kind": incident.kind.value,
        "status": incident.status.value,
        "message": "loss rose",
        "advice": "Look at the data.",
    }
    assert (closed["change"], closed["step"]) == ("closed", 990)


def test_whatever_an_incident_holds_is_one_line_of_json_that_anything_reads():
    nasty = "a\r\nb\x1b[2J\u2028c\ud800"
    incident = an_incident(message=nasty, peak=float("nan"), score=float("inf"), evidence={"x": float("-inf")})
    (line,) = written(event(Change.OPENED, incident))
    assert line["message"] == nasty
    assert line["incident"]["peak"] == "NaN"  # type: ignore[index]
    assert line["incident"]["score"] == "Infinity"  # type: ignore[index]


@pytest.mark.parametrize(
    "huge",
    [
        {"evidence": {"values": list(range(100_000))}},
        {"message": "\U0001f525" * 50_000, "advice": "\U0001f525" * 50_000, "id": "x" * 50_000},
    ],
    ids=["evidence", "texts"],
)
def test_a_line_is_short_enough_for_a_container_runtime(huge: dict[str, object]):
    stream = io.StringIO()
    incident = an_incident(**huge)
    JsonLinesSink(stream).on_event(event(Change.OPENED, incident))
    assert len(stream.getvalue()) < 16_384
    record = strict(stream.getvalue())
    assert record["kind"] == incident.kind.value
    assert str(record["message"])[:10] == incident.message[:10]


def test_an_incident_is_told_from_when_it_is_severe_enough_to_its_end():
    info, warning = an_incident(severity=Severity.INFO), an_incident(severity=Severity.WARNING)
    lines = written(
        event(Change.OPENED, info),
        event(Change.UPDATED, warning),
        event(Change.CLOSED, info),
        event(Change.OPENED, info),
        minimum_severity="warning",
    )
    assert [line["change"] for line in lines] == ["updated", "closed"]


def test_every_nth_sample_is_written_if_asked_for(capsys: pytest.CaptureFixture[str]):
    quiet, every_third = JsonLinesSink(), JsonLinesSink(samples_every=3)
    for step in range(1, 8):
        for sink in (quiet, every_third):
            sink.on_sample(Sample(step, {"loss": float("inf"), "grad_norm": 0.5}))
    lines = [strict(line) for line in capsys.readouterr().out.splitlines()]
    metrics = {"loss": "Infinity", "grad_norm": 0.5}
    assert lines == [
        {"source": "pretrain_monitor", "type": "sample", "step": step, "metrics": metrics} for step in (3, 6)
    ]


def test_of_very_many_signals_a_line_says_how_many_it_leaves_out():
    stream = io.StringIO()
    sample = Sample(1, {f"domain/{place}/loss": 2.0 for place in range(5_000)})
    JsonLinesSink(stream, samples_every=1).on_sample(sample)
    record = strict(stream.getvalue())
    assert 8_000 < len(stream.getvalue()) < 16_384
    assert len(record["metrics"]) + record["left_out"] == 5_000  # type: ignore[arg-type,operator]


def test_a_line_is_written_at_once_and_as_a_whole():
    class Stream(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.writes: list[str] = []
            self.is_flushed = False

        def write(self, text: str) -> int:
            self.writes.append(text)
            return super().write(text)

        def flush(self) -> None:
            self.is_flushed = True

    stream = Stream()
    JsonLinesSink(stream).on_event(event(Change.OPENED, an_incident()))
    (text,) = stream.writes
    assert text.endswith("}\n")
    assert stream.is_flushed


def test_a_rich_progress_bar_does_not_break_a_line(monkeypatch: pytest.MonkeyPatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    console = Console(file=terminal, force_terminal=True, width=40)
    with Progress(console=console) as bar:
        bar.add_task("training")
        JsonLinesSink().on_event(event(Change.OPENED, an_incident(message="words " * 50)))
    (line,) = [line for line in terminal.getvalue().splitlines() if line.startswith("{")]
    assert strict(line)["message"] == "words " * 50


def test_settings_that_cannot_be_used_are_refused():
    with pytest.raises(ConfigError, match="'bad'; choose one of info, warning, critical"):
        JsonLinesSink(minimum_severity="bad")
    with pytest.raises(ConfigError, match="samples_every=0"):
        JsonLinesSink(samples_every=0)


def test_what_was_done_and_how_the_run_ended_are_lines_too():
    stream = io.StringIO()
    sink = JsonLinesSink(stream)
    details = {"from_step": 520, "to_step": 400}
    sink.on_action(ActionRecord(400, 0.0, "rewind", "done", "loss became NaN", "loss-512", details))
    sink.on_end(900, "crashed: ValueError")
    action, end = map(json.loads, stream.getvalue().splitlines())
    assert (action["type"], action["do"], action["outcome"], action["incident"]) == (
        "action",
        "rewind",
        "done",
        "loss-512",
    )
    assert action["title"] == "went back from step 520 to the checkpoint of step 400"
    assert (end["type"], end["step"], end["reason"]) == ("end", 900, "crashed: ValueError")
