from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import rich
from rich.console import Console
from terminal import run_in_terminal, screen
from test_telemetry import an_incident

from pretrain_monitor import Event, Incident, Sample, Severity
from pretrain_monitor.config import ConsoleConfig
from pretrain_monitor.sinks.console import ConsoleSink
from pretrain_monitor.telemetry import Change, Kind, Status

PROGRAM = str(Path(__file__).with_name("console_program.py"))

SPIKE = an_incident(
    id="loss-900",
    kind=Kind.SPIKE,
    signals=("loss", "grad_norm"),
    onset_step=900,
    detected_step=905,
    message="loss rose from 2.21 to 3.45 (+56 %, 33 sd) at step 900; still going on",
    advice="Keep a checkpoint from before the onset.",
)


class Told:
    """What a sink printed on the console that everybody shares."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self) -> list[str]:
        text = self._console.file.getvalue()  # type: ignore[attr-defined]
        self._console.file.seek(0)
        self._console.file.truncate()
        return [line.rstrip() for line in text.splitlines()]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return console_of(monkeypatch, is_terminal=False)


@pytest.fixture
def told_on_terminal(monkeypatch: pytest.MonkeyPatch) -> Told:
    return console_of(monkeypatch, is_terminal=True)


def console_of(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, width: int = 80) -> Told:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=width, color_system=None, _environ={})
    monkeypatch.setattr(rich, "_console", console)
    return Told(console)


def event(change: Change, incident: Incident, step: int = 905) -> Event:
    return Event(step, incident.id, change, incident)


def sink(**settings: object) -> ConsoleSink:
    return ConsoleSink(ConsoleConfig(**settings), Path("runs/my run"))  # type: ignore[arg-type]


def test_an_alert_is_told_when_it_is_raised_and_again_in_one_line_when_it_is_over(told: Told):
    console = sink()
    console.on_event(event(Change.OPENED, SPIKE))
    assert told() == [
        "pretrain-monitor: WARNING: spike at step 900, seen 5 steps later: "
        "loss rose from 2.21 to 3.45 (+56 %, 33 sd) at step 900; still going on",
        "pretrain-monitor: what to do: Keep a checkpoint from before the onset.",
    ]
    console.on_event(event(Change.UPDATED, SPIKE))
    assert told() == []
    over = an_incident(**{**fields(SPIKE), "status": Status.RECOVERED, "end_step": 938, "excess_loss": 21.34})
    console.on_event(event(Change.CLOSED, over))
    assert told() == [
        "pretrain-monitor: spike at step 900 has recovered: over at step 938, after 38 steps; "
        "excess loss 21.34 nats x steps"
    ]


def fields(incident: Incident) -> dict[str, object]:
    return {name: getattr(incident, name) for name in Incident.__dataclass_fields__}


def changed(**changes: object) -> Incident:
    return an_incident(**{**fields(SPIKE), **changes})


def test_information_is_not_told_unless_asked_for(told: Told):
    info = changed(severity=Severity.INFO)
    quiet, curious = sink(), sink(minimum_severity="info")
    for change in (Change.OPENED, Change.CLOSED):
        quiet.on_event(event(change, info))
    assert told() == []
    curious.on_event(event(Change.OPENED, info))
    assert told()[0].startswith("pretrain-monitor: INFO: spike at step 900")


def test_an_incident_that_gets_worse_is_told_again(told: Told):
    console = sink()
    console.on_event(event(Change.OPENED, changed(severity=Severity.INFO)))
    assert told() == []
    console.on_event(event(Change.UPDATED, SPIKE))
    assert told()[0].startswith("pretrain-monitor: WARNING: spike at step 900")
    console.on_event(event(Change.CLASSIFIED, changed(severity=Severity.CRITICAL, kind=Kind.DIVERGENCE)))
    assert told()[0].startswith("pretrain-monitor: CRITICAL (was warning): divergence at step 900")


def test_an_end_says_under_what_name_and_place_the_incident_was_told(told: Told):
    console = sink()
    console.on_event(event(Change.OPENED, changed(kind=Kind.BAD_BATCH)))
    console.on_event(event(Change.CLOSED, changed(status=Status.PERSISTENT, onset_step=890, excess_loss=None)))
    assert told()[-1] == (
        "pretrain-monitor: spike at step 890 (told as bad batch at step 900) is here to stay: "
        "no way back to trend so far"
    )


def test_on_a_terminal_an_alert_is_a_panel_no_wider_than_the_terminal(told_on_terminal: Told):
    sink().on_event(event(Change.OPENED, SPIKE))
    lines = told_on_terminal()
    assert lines[0].startswith("╭─")
    assert "WARNING: spike at step 900, seen 5 steps later" in lines[0]
    assert lines[-1].startswith("╰─")
    assert {len(line) for line in lines} == {80}
    assert any("Keep a checkpoint from before the onset." in line for line in lines)


def test_a_very_narrow_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch):
    told = console_of(monkeypatch, is_terminal=True, width=30)
    sink().on_event(event(Change.OPENED, SPIKE))
    assert len(told()) == 2


@pytest.mark.parametrize("is_terminal", [False, True])
def test_markup_and_control_characters_in_a_message_are_harmless(monkeypatch: pytest.MonkeyPatch, is_terminal: bool):
    told = console_of(monkeypatch, is_terminal=is_terminal)
    nasty = "[red]not red[/red] [/] [link=x]y[/link]\x1b[2J\r\nnext"
    console = sink()
    console.on_sample(Sample(1, {"loss": 2.0}))
    console.on_event(event(Change.OPENED, changed(message=nasty, advice=nasty)))
    console.close()
    text = "\n".join(told())
    assert text.count("[red]not red[/red] [/] [link=x]y[/link]") == 3
    assert "\x1b" not in text


def test_the_end_is_a_table_of_incidents_and_what_to_type_next(told_on_terminal: Told):
    console = sink()
    for step in range(1, 1001):
        console.on_sample(Sample(step, {"loss": 2.0}))
    console.on_sample(Sample(1000, {"heldout/code/perplexity": 9.0}))  # no step of its own
    console.on_event(event(Change.OPENED, SPIKE))
    console.on_event(event(Change.OPENED, changed(id="other", severity=Severity.INFO)))
    console.on_event(event(Change.CLOSED, changed(status=Status.ENDED_RUN)))
    told_on_terminal()
    console.close()
    lines = told_on_terminal()
    assert lines[0] == "pretrain-monitor: watched 1,000 steps (1 to 1,000): 1 alert, 1 info"
    assert lines[1].split() == ["step", "kind", "severity", "status", "what", "happened"]
    assert lines[2].split()[:6] == ["900", "spike", "warning", "ended", "run", "loss"]
    assert lines[-3:] == [
        "next: pretrain-monitor tensorboard 'runs/my run'",
        "next: pretrain-monitor replay 'runs/my run'",
        "next: pretrain-monitor explain 'runs/my run' loss-900",
    ]
    assert sum("loss rose" in line for line in lines) == 1


def test_of_several_alerts_the_worst_is_to_be_explained_next_and_of_these_the_last(told: Told):
    console = sink(minimum_severity="info")
    console.on_sample(Sample(1, {"loss": 2.0}))
    for identity, severity, step in (("a", "critical", 10), ("it's", "critical", 20), ("b", "warning", 30)):
        incident = changed(id=identity, severity=Severity(severity), detected_step=step)
        console.on_event(event(Change.OPENED, incident))
    told()
    console.close()
    assert told()[-1].endswith("""explain 'runs/my run' 'it'"'"'s'""")


def test_where_there_was_only_information_nothing_is_to_be_explained(told: Told):
    console = sink(minimum_severity="info")
    console.on_sample(Sample(1, {"loss": 2.0}))
    console.on_event(event(Change.OPENED, changed(severity=Severity.INFO)))
    console.close()
    assert "explain" not in told()[-1]


def test_a_quiet_run_ends_with_one_line(told: Told):
    console = sink()
    for step in range(401, 501):
        console.on_sample(Sample(step, {"loss": 2.0}))
    console.close()
    assert told() == ["pretrain-monitor: watched 100 steps (401 to 500): no alerts"]


def test_a_run_that_never_began_and_one_without_summary_end_in_silence(told: Told):
    sink().close()
    console = sink(summary=False)
    console.on_sample(Sample(1, {"loss": 2.0}))
    console.close()
    assert told() == []


def test_without_a_summary_the_end_of_the_run_ends_its_incidents(told: Told):
    console = sink(summary=False)
    console.on_event(event(Change.OPENED, SPIKE))
    console.on_event(event(Change.CLOSED, changed(status=Status.ENDED_RUN)))
    assert "was not over when the run ended" in told()[-1]


def test_a_log_file_gets_plain_unbroken_lines(tmp_path: Path):
    command = [sys.executable, PROGRAM, "none", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    assert [line.split(": ")[0] for line in lines if not line.startswith("  step")] == ["pretrain-monitor"] * (
        len(lines) - 1
    )
    assert lines[0].startswith("pretrain-monitor: WARNING: ")
    assert "still going on" in lines[0]
    assert lines[-3].startswith("pretrain-monitor: next: pretrain-monitor tensorboard ")
    assert lines[-1].startswith("pretrain-monitor: next: pretrain-monitor explain ")


def test_a_terminal_that_cannot_show_the_lines_of_a_panel_still_gets_the_alert(tmp_path: Path):
    command = [sys.executable, PROGRAM, "none", str(tmp_path)]
    env = {"PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1", "TERM": "xterm", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, env=env)
    assert b"WARNING: " in done.stdout
    assert b"watched 400 steps" in done.stdout
    assert b"failed" not in done.stderr


@pytest.mark.parametrize("kind", ["tqdm", "rich", "other_rich"])
def test_alerts_and_progress_bars_do_not_garble_each_other(tmp_path: Path, kind: str):
    lines = screen(run_in_terminal([sys.executable, PROGRAM, kind, str(tmp_path)]))
    bars = [line for line in lines if "100%" in line or "%|" in line or "━━" in line]
    assert len(bars) == 1, "\n".join(lines)
    assert "100%" in bars[0]
    assert not any(character in bars[0] for character in "│╭╮╰╯")
    top = next(n for n, line in enumerate(lines) if line.startswith("╭─") and "WARNING: " in line)
    bottom = next(n for n, line in enumerate(lines) if line.startswith("╰─"))
    assert top < bottom < lines.index(bars[0])
    assert lines[top].endswith("─╮")
    for line in lines[top + 1 : bottom]:
        assert line.startswith("│ ")
        assert line.endswith("│")
    summary = next(n for n, line in enumerate(lines) if line.startswith("pretrain-monitor: watched 400 steps"))
    assert summary > lines.index(bars[0])


def test_an_alert_that_turns_into_something_else_is_told_in_one_more_line(told: Told):
    sink = ConsoleSink(ConsoleConfig(), None)
    jump = replace(SPIKE, kind=Kind.LR_ANOMALY, signals=("learning_rate",), message="the learning rate jumped")
    sink.on_event(Event(900, SPIKE.id, Change.OPENED, jump))
    told()
    followed = replace(SPIKE, signals=("loss", "learning_rate"))
    for change in (Change.UPDATED, Change.UPDATED):
        sink.on_event(Event(903, SPIKE.id, change, followed))
    assert told() == [f"pretrain-monitor: spike: {SPIKE.message}"]
